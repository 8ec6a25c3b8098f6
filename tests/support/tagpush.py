"""A push to a registry in a process of its own, which a test can kill: HOST/PREFIX, the archive, version and run."""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path

from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites import open_site
from cc_images.sites.base import Publication
from cc_images.sites.publish import Outcome, Terms, publish

NAME = "CC-X"


def push(registry: str, file: Path, version: str, run: str, *, keep: int | None = 1, form: Format = Format.OCI,
         pause: float = 0.0, insecure: bool = True) -> Outcome:  # fmt: skip
    """Publish a file as CC-X."""
    content = file.read_bytes()
    wanted = Publication(
        name=NAME, path=file, sha512=hashlib.sha512(content).hexdigest(), size=len(content), run=run,
        properties={"build-version": version, "registry-version": version},
    )  # fmt: skip
    site = open_site(Site(name="reg", registry=registry, insecure=insecure), form)
    return publish(site, wanted, Terms(keep=keep, pause=pause), stop=threading.Event())


if __name__ == "__main__":
    push(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])
