"""Measure uploads to a real Glance on loopback: rate against `curl -T`, two sites at once, and peak memory.

Both sides send the same file to the same service in one run, in turn. Needs `curl`.
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites.base import Publication, Upload
from cc_images.sites.glance import GlanceSite
from cc_images.sites.publish import publish
from tests.support.testbed import TestBed

SIZE = 512 << 20
ROUNDS = 5


def timed(work: Callable[[], object]) -> float:
    """Return the wall seconds that a piece of work takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def timed_and_removed(site: GlanceSite, work: Callable[[], str]) -> float:
    """Return the wall seconds of an upload, and remove the image afterwards, outside the measure."""
    began = time.monotonic()
    image = work()
    seconds = time.monotonic() - began
    site.call("DELETE", f"/images/{image}")
    return seconds


def push(cloud: str, publication: Publication) -> None:
    """Publish, whole: create, upload, verify, name."""
    publish(GlanceSite(Site(name=cloud, cloud=cloud), Format.RAW), publication, stop=threading.Event())


def upload(site: GlanceSite, publication: Publication) -> str:
    """Create a record, send the file, read back what arrived; return the image's id."""
    step = Upload(id=str(uuid.uuid4()), visibility="private", replaces="")
    site.act(step, publication, stop=threading.Event(), report=lambda done: None)
    return step.id


def curl(site: GlanceSite, path: Path) -> str:
    """Create a record and send the file with curl, as a person would by hand; return the image's id."""
    connection = site.cloud.connection()
    record = {"name": "curl", "disk_format": "raw", "container_format": "bare"}
    image = site.call("POST", "/images", json=record)["id"]
    endpoint = connection.image.get_endpoint().rstrip("/").removesuffix("/v2")
    headers = [f"X-Auth-Token: {connection.session.get_token()}", "Content-Type: application/octet-stream"]
    subprocess.run(
        ["curl", "--silent", "--fail", "--config", "-", "-T", path, f"{endpoint}/v2/images/{image}/file"],
        input="".join(f'header = "{header}"\n' for header in headers),
        text=True,
        check=True,
    )
    return str(image)


def main() -> None:
    """Print both sides and their ratios."""
    with tempfile.TemporaryDirectory() as name, TestBed(Path(name) / "bed") as bed:
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(bed.clouds)
        path = Path(name) / "disk"
        with path.open("wb") as file:  # in pieces: what is read below is this process's peak of memory
            for _ in range(SIZE >> 20):
                file.write(os.urandom(1 << 20))
        with path.open("rb") as written:
            sha512 = hashlib.file_digest(written, "sha512").hexdigest()

        def publication(number: int) -> Publication:
            return Publication(
                name=f"bench-{number}", path=path, sha512=sha512, size=SIZE, properties={}, run=f"r{number}"
            )

        site = GlanceSite(Site(name="metal", cloud="metal"), Format.RAW)
        timed_and_removed(site, lambda: curl(site, path))
        idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        by_curl, by_us = 0.0, 0.0
        for number in range(ROUNDS):
            by_curl += timed_and_removed(site, lambda: curl(site, path))
            by_us += timed_and_removed(site, partial(upload, site, publication(number)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rate = ROUNDS * SIZE / 1e6
        print(f"curl -T            {rate / by_curl:7.0f} MB/s")
        print(f"cc-images          {rate / by_us:7.0f} MB/s   checked against the hash that Glance computed")
        print(f"ratio              {by_curl / by_us:7.2f}        (goal >= 0.95)")
        print(f"memory above idle  {(peak - idle) / 1024:7.1f} MiB    for {SIZE >> 20} MiB (goal <= 100)")
        one_by_one = sum(timed(lambda cloud=cloud: push(cloud, publication(100))) for cloud in ("metal", "kvm"))  # type: ignore[misc]
        with ThreadPoolExecutor(2) as pool:
            at_once = timed(lambda: list(pool.map(lambda cloud: push(cloud, publication(101)), ("metal", "kvm"))))
        print(f"whole publication  {one_by_one / 2:7.1f} s      credentials, checks and naming included")
        print(f"two sites          {one_by_one:7.1f} s one after the other, {at_once:.1f} s at once")


if __name__ == "__main__":
    main()
