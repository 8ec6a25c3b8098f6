"""A catalogue in a container of a real Swift: publications, two writers at once, kills at each call, and pulls."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.model.site import Site
from cc_images.sites.base import Delete, Publication
from cc_images.sites.cloud import Cloud, Patience
from cc_images.sites.container_catalogue import ContainerCatalogue
from cc_images.sites.objects import Objects
from cc_images.sites.publish import publish
from cc_images.sources import artifacts
from cc_images.sources.catalogues import Catalogue
from cc_images.store.records import Store
from tests.conftest import clean_environment, forked, spread, write_files
from tests.support import killer
from tests.support.testbed import TestBed
from tests.unit.api.test_signatures import allowed, settings, ssh_key

NAME = "CC-Crash"

NOTHING: Mapping[str, str] = {}


def add(store: Store, version: str, content: bytes, name: str = NAME) -> None:
    """Put a build, so to speak, into the store."""
    store.root.mkdir(parents=True, exist_ok=True)
    disk = store.root / "disk"
    disk.write_bytes(content)
    blob = store.blobs.add(disk)
    output = Output(format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=1 << 20)
    build = Build(tag=name.lower(), name=name, arch=Arch.AMD64, version=version, recipe_key="a", key="k",
                  outputs={Format.QCOW2: output})  # fmt: skip
    store.record(build, {}, name)


@dataclass
class Place:
    """A project that publishes to a container of its own, and another one with a folder as its site."""

    folder: Path
    bed: TestBed
    container: str

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def address(self) -> str:
        return f"swift://metal/{self.container}/prod"

    @property
    def environment(self) -> dict[str, str]:
        counted = {"OS_CLIENT_CONFIG_FILE": str(self.bed.clouds), "KILLER_COUNT": str(self.folder / "count")}
        return clean_environment(self.folder) | counted

    def run(
        self, *words: str, at: int = 0, when: str = "before", more: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """Run cc-images, which dies at one of its calls."""
        return forked(killer.main, (str(at), when, *words), self.folder, {**self.environment, **more})

    def push(self, at: int = 0, when: str = "before", more: Mapping[str, str] = NOTHING) -> int:
        """Push what is in force; return the exit code."""
        return self.run("-q", "-p", "--no-boot-test", NAME.lower(), at=at, when=when, more=more).returncode

    def pull(self, source: str, *words: str) -> tuple[int, list[dict[str, Any]]]:
        """Pull into the folder; return the exit code, and a row for each image."""
        other = self.folder / "other"
        other.mkdir(exist_ok=True)
        write_files(other, sites="one: {directory: one}\n")
        more = {"CC_IMAGES_STORE": str(other / "store")}
        done = forked(killer.main, ("0", "before", "pull", "--json", source, *words), other, self.environment | more)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "count").read_text().splitlines()

    @property
    def client(self) -> Objects:
        return Objects(Cloud("all", "metal", Patience(settle=0.5)), self.container)

    def read(self, path: str) -> bytes:
        found = self.client.read(f"prod/{path}")
        assert found is not None, path
        return found.content

    def current(self, name: str = NAME) -> bytes:
        """Return the image in force, as a reader finds it."""
        place = json.loads(self.read("current"))[name]
        return self.read(f"versions/{place}/{name}.qcow2")

    def places(self) -> set[str]:
        """Return the places of which anything is left."""
        found = [path for below in ("versions", "segments") for path, _ in self.client.listed(f"prod/{below}/")]
        return {path.split("/")[2] for path in found}

    def pulled(self) -> bytes:
        file = self.folder / "other" / "one" / f"{NAME}.qcow2"
        return file.read_bytes() if file.exists() else b""


@pytest.fixture
def place(tmp_path: Path, bed: TestBed, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(bed.clouds))
    made = Place(tmp_path, bed, f"images-{uuid.uuid4().hex[:8]}")
    write_files(
        tmp_path,
        images=f"{NAME}: {{elements: [debian-minimal], disk: []}}",
        sites=f"all: {{catalogue: 'swift://metal/{made.container}', scope: prod, keep: 1}}\n",
    )
    return made


V1, V2, V3 = "20260101T000000Z", "20260102T000000Z", "20260103T000000Z"


def test_what_is_published_is_pulled_and_costs_bytes_once(place: Place) -> None:
    first, second = (bytes([number]) * (8 << 20) for number in (1, 2))
    add(place.store, V1, first)
    assert place.push() == 0
    assert place.current() == first
    assert place.push() == 0
    assert not [call for call in place.calls if call.startswith(("PUT", "DELETE"))], "nothing was sent"
    said = json.loads(place.read("versions/" + json.loads(place.read("current"))[NAME] + "/manifest.json"))
    assert said["sha256"] == hashlib.sha256(first).hexdigest()

    code, rows = place.pull(place.address, "--dry-run")
    assert (code, rows[0]["note"], place.pulled()) == (0, "would be published", b"")
    code, rows = place.pull(place.address)
    assert (code, place.pulled()) == (0, first), rows
    code, rows = place.pull(place.address)
    assert rows[0]["note"] == "it has it"

    add(place.store, V2, second)
    assert place.push() == 0
    place.client.cloud.connection().object_store.request(
        f"/{place.container}", "POST", headers={"X-Container-Read": ".r:*"}, raise_exc=True
    )
    assert place.bed.swift is not None
    web = f"{place.bed.swift.url}/v1/{place.client.account()}/{place.container}/prod"
    code, rows = place.pull(web)
    assert (code, place.pulled()) == (0, second), "over HTTP, as from a folder that is served"
    done = place.run("rollback", NAME.lower(), "--why", "a test")
    assert done.returncode == 0, done.stderr
    assert place.current() == first
    assert place.pull(place.address)[1][0]["after"] == V1
    assert place.pulled() == first


def test_a_large_file_is_in_segments_and_pulled_as_one(place: Place) -> None:
    content = bytes(range(256)) * (1 << 15)
    file = place.folder / "disk"
    file.write_bytes(content)
    site = Site(name="all", catalogue=f"swift://metal/{place.container}", scope="prod")
    made = Publication(name=NAME, path=file, sha512=hashlib.sha512(content).hexdigest(), size=len(content),
                       properties={"build-version": V1}, run="r1")  # fmt: skip
    catalogue = ContainerCatalogue(site, Format.QCOW2, segment=3 << 20)
    assert publish(catalogue, made, stop=threading.Event()).changed
    assert len(list(place.client.listed("prod/segments/"))) == 3
    code, rows = place.pull(place.address)
    assert (code, place.pulled()) == (0, content), rows
    (holder,) = catalogue.find(NAME)
    place.client.write("prod/current", b"{}")
    catalogue.act(Delete(entry=holder), None, stop=threading.Event(), report=print)
    assert place.places() == set()


def test_a_download_goes_on_and_a_flipped_bit_is_refused_by_name(place: Place) -> None:
    content = bytes(range(256)) * (1 << 14)
    add(place.store, V1, content)
    assert place.push() == 0
    version = json.loads(place.read("current"))[NAME]
    file = f"prod/versions/{version}/{NAME}.qcow2"
    store = Store(place.folder / "third")
    begun = store.root / "partial" / hashlib.sha256(content).hexdigest()
    begun.mkdir(parents=True)
    (begun / "data").write_bytes(content[: 3 << 20])
    came: list[int] = []
    offered = Catalogue.at(place.address).offered(NAME, version)
    blob = artifacts.fetch(
        offered.file, store, {}, stop=threading.Event(), report=lambda done, total: came.append(done)
    )
    assert blob.path.read_bytes() == content
    assert came[0] > 3 << 20, "it went on where it broke off"

    flipped = bytearray(content)
    flipped[5] ^= 1
    place.client.write(file, bytes(flipped))
    code, rows = place.pull(place.address)
    assert code == 3
    assert NAME in rows[0]["error"]
    assert "has the digest" in rows[0]["error"]
    assert place.pulled() == b""


def test_the_container_is_shown(place: Place) -> None:
    add(place.store, V1, b"good")
    assert f"swift://metal/{place.container} answers" in place.run("doctor").stdout
    assert place.push() == 0
    shown = place.run("status", "--sites", NAME.lower())
    assert shown.returncode == 0, shown.stderr
    assert re.search(rf"^all +{NAME} +{V1} ", shown.stdout, re.MULTILINE)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_signature_counts_for_the_bytes_in_the_container(place: Place) -> None:
    key = ssh_key(place.folder, "key")
    add(place.store, V1, b"good")
    more = settings(place.folder, sign=key, trusted=allowed(place.folder, key))
    assert place.push(more=more) == 0
    done = place.run("verify", "--signature", "all", more=more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "images@example.org" in done.stdout
    version = json.loads(place.read("current"))[NAME]
    place.client.write(f"prod/versions/{version}/{NAME}.qcow2", b"evil")
    done = place.run("verify", "--signature", "all", more=more)
    assert done.returncode != 0, done.stdout


@pytest.mark.parametrize("before", [1], ids=["retention"])
def test_every_call_of_a_publication_can_be_the_last(place: Place, before: int) -> None:
    number = 0

    def prepare() -> tuple[bytes, bytes]:
        """Begin with a new container; return what is in force before and after the push that follows."""
        nonlocal number
        number += 1
        place.container = f"{place.container[:15]}-{number}"
        sites = f"all: {{catalogue: 'swift://metal/{place.container}', scope: prod, keep: 0}}\n"
        (place.folder / "sites.yaml").write_text(sites)
        (place.store.root / "published.json").unlink(missing_ok=True)
        for build in place.store.builds(NAME.lower(), Arch.AMD64) if place.store.root.exists() else ():
            place.store.forget(build)
        contents = [f"{number} {each} ".encode() * 400 for each in range(before + 1)]
        for each, content in enumerate(contents):
            add(place.store, f"2026010{each + 1}T000000Z", content)
            if each < before:
                assert place.push() == 0
        return (contents[-2] if before else b""), contents[-1]

    prepare()
    assert place.push() == 0
    calls = place.calls
    assert len(calls) > 15
    changes = [at for at, call in enumerate(calls, 1) if not call.startswith(("GET", "HEAD"))]
    for at in spread(changes):
        # nothing changes between two of these calls: after one is before the next
        for when in ("before", "after") if at == changes[0] else ("after",):
            old, new = prepare()
            assert place.push(at, when) == 137
            found = place.client.read("prod/current")
            assert (place.current() if found is not None else b"") in (old, new), f"{when} {calls[at - 1]}"
            assert place.push() == 0, f"{when} {at} {calls[at - 1]}"
            assert place.current() == new
            assert len(place.places()) == 1, f"{when} {at} {calls[at - 1]}: {place.places()}"


def test_of_many_who_make_one_object_at_once_one_has_made_it(place: Place) -> None:
    place.client.make()
    for turn in range(10):
        won: list[int] = []
        barrier = threading.Barrier(4)

        def claim(who: int, turn: int = turn, won: list[int] = won, barrier: threading.Barrier = barrier) -> None:
            client = place.client
            client.account()
            barrier.wait()
            if client.claim(f"prod/changes/{turn}", str(who).encode()):
                won.append(who)

        threads = [threading.Thread(target=claim, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert place.read(f"changes/{turn}") == str(won[0]).encode()


def test_two_writers_at_the_same_moment_lose_nothing(place: Place) -> None:
    """Two hosts, each with a store of its own, publish two versions of two images each into one scope."""
    names = ("CC-One", "CC-Two")
    hosts: list[tuple[str, Path]] = []
    for name in names:
        folder = place.folder / name
        folder.mkdir()
        write_files(
            folder,
            images=f"{name}: {{elements: [debian-minimal], disk: []}}",
            sites=f"all: {{catalogue: 'swift://metal/{place.container}', scope: prod}}\n",
        )
        hosts.append((name, folder))
    for version, content in ((V1, b"first"), (V2, b"second")):
        running = []
        for name, folder in hosts:
            add(Store(folder / "store"), version, content + name.encode(), name)
            words = [sys.executable, "-m", "cc_images", "-q", "-p", "--no-boot-test", name.lower()]
            environment = clean_environment(folder) | {"OS_CLIENT_CONFIG_FILE": str(place.bed.clouds)}
            running.append(subprocess.Popen(words, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))  # fmt: skip
        for each in running:
            output, _ = each.communicate(timeout=300)
            assert each.returncode == 0, output
        for name in names:
            assert place.current(name) == content + name.encode()
    assert sorted(json.loads(place.read("current"))) == sorted(names)
    assert len(place.places()) == 4
    changes = [path for path, _ in place.client.listed("prod/changes/")]
    assert len(changes) == 4, "each change has a number of its own"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("swift://metal", "is no address such as swift://CLOUD/CONTAINER/SCOPE"),
        ("swift://metal/images", "is no address such as swift://CLOUD/CONTAINER/SCOPE"),
        ("swift://nowhere/images/prod", "clouds.yaml has no usable entry nowhere"),
        ("swift://metal/none/prod", "swift://metal/none/prod/current cannot be read: there is no such object"),
        ("swift://kvm/images/prod", "site kvm"),
    ],
)
def test_a_source_that_is_none_is_said(place: Place, source: str, said: str) -> None:
    done = place.run("pull", source)
    assert done.returncode in (2, 3)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
