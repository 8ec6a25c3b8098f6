"""apt's repositories against what an image has installed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cc_images.model.builds import Build
from cc_images.planner.freshness import World
from cc_images.sources.apt import Repositories
from cc_images.sources.apt_index import changed, is_later, offers, release
from cc_images.store.records import Store
from tests.conftest import samples
from tests.unit.store.test_records import stored

VERSIONS = st.from_regex(r"([0-9]:)?[0-9][0-9a-zA-Z.+~]{0,6}(-[0-9a-zA-Z.+~]{1,4})?", fullmatch=True)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg")
@settings(deadline=None, max_examples=samples(10, 150))
@example("0A-1", "0A0")
@example("0", "0~")
@given(VERSIONS, VERSIONS)
def test_versions_are_in_dpkgs_order(one: str, other: str) -> None:
    said = subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0
    assert is_later(one, other) is said


@pytest.mark.parametrize(
    ("low", "high"), [("1.0~rc1", "1.0"), ("1.0", "1.0-1"), ("9", "10"), ("1.0", "1:0.1"), ("1.0a", "1.0+b")]
)
def test_versions_in_order(low: str, high: str) -> None:
    assert is_later(high, low)
    assert not is_later(low, high)


def test_what_an_index_offers_is_the_newest_of_each() -> None:
    text = "Package: a\nVersion: 2\n\nPackage: a\nVersion: 10\n\nPackage: b\nSource: x\nVersion: 1-1\n"
    assert offers(text) == {"a": "10", "b": "1-1"}
    assert offers("Package: a\nVersion: 1\nProvides: mta (= 1), b\n\nPackage: b\nVersion: 2\n") == {
        "a": "1", "mta": "", "b": "2",
    }  # fmt: skip


def test_what_differs_is_told() -> None:
    installed = {"a": "1", "b": "1", "c": "1"}
    assert changed(installed, [{"a": "1", "b": "2"}, {"b": "1"}]) == ["b 1 → 2", "c 1 is not offered"]
    assert changed({"a": "1"}, [{"a": "1", "z": "9"}]) == []


@dataclass
class Bed:
    """A repository on loopback; `asked` has the paths of what was fetched."""

    root: Path
    server: ThreadingHTTPServer
    asked: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/dists/s/InRelease"

    def release(self, date: str, header: str = "", **packages: str) -> str:
        text = "".join(f"Package: {name}\nVersion: {version}\n\n" for name, version in packages.items())
        index = self.root / "dists/s/main/binary-amd64/Packages.xz"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_bytes(lzma.compress(text.encode()))
        digest = hashlib.sha256(index.read_bytes()).hexdigest()
        whole = f"Date: {date}\nComponents: main\n{header}SHA256:\n {digest} 9 main/binary-amd64/Packages.xz\n"
        (self.root / "dists/s/InRelease").write_text(whole)
        os.utime(self.root / "dists/s/InRelease", (int(date) * 3600, int(date) * 3600))
        return hashlib.sha256(whole.encode()).hexdigest()


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    """Return a repository that is served while the test runs."""
    (tmp_path / "www").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            made.asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "www")))
    made = Bed(tmp_path / "www", server)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def test_indices_are_fetched_once_by_their_digests(bed: Bed, tmp_path: Path) -> None:
    digest = bed.release("1", vim="9.0", other="1")
    for _ in range(2):
        found = Repositories(tmp_path / "indices")
        assert found.changed({"vim": "9.0"}, "amd64", {bed.address: digest}) == []
    assert len(bed.asked) == 2, "InRelease and Packages"
    newer = bed.release("2", vim="9.1", other="1")
    found = Repositories(tmp_path / "indices")
    assert found.changed({"vim": "9.0"}, "amd64", {bed.address: newer}) == ["vim 9.0 → 9.1"]
    assert found.changed({"vim": "9.0"}, "amd64", {bed.address: digest}) == [], "what is kept needs no network"


def test_names_are_told_from_what_is_kept_alone(bed: Bed, tmp_path: Path) -> None:
    digest, found = bed.release("1", vim="9.0"), Repositories(tmp_path / "indices")
    assert found.offered("amd64", {bed.address: digest}) is None
    found.changed({"vim": "9.0"}, "amd64", {bed.address: digest})
    asked = len(bed.asked)
    assert found.offered("amd64", {bed.address: digest}) == {"vim"}
    assert len(bed.asked) == asked


def test_what_cannot_be_had_or_has_changed_again_is_not_known(bed: Bed, tmp_path: Path) -> None:
    digest = bed.release("1", vim="9.0")
    assert Repositories(tmp_path / "a", offline=True).changed({"vim": "9.0"}, "amd64", {bed.address: digest}) is None
    assert Repositories(tmp_path / "b").changed({"vim": "9.0"}, "amd64", {bed.address: "0" * 64}) is None
    (bed.root / "dists/s/main/binary-amd64/Packages.xz").write_bytes(b"torn")
    assert Repositories(tmp_path / "c").changed({"vim": "9.0"}, "amd64", {bed.address: digest}) is None


def test_what_cannot_be_read_is_not_known(bed: Bed, tmp_path: Path) -> None:
    bed.release("1", vim="9.0")
    release_file = bed.root / "dists/s/InRelease"
    whole = release_file.read_text()
    for number, text in enumerate((whole.replace("Components: main\n", ""), whole.replace(".xz", ".zst"))):
        release_file.write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        found = Repositories(tmp_path / str(number))
        assert found.changed({"vim": "9.0"}, "amd64", {bed.address: digest}) is None


@pytest.mark.parametrize(("packed", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), ("", bytes)])
def test_an_index_may_be_packed_otherwise(
    bed: Bed, tmp_path: Path, packed: str, pack: Callable[[bytes], bytes]
) -> None:
    bed.release("1", vim="9.0")
    content = pack(b"Package: vim\nVersion: 9.1\n\n")
    (bed.root / f"dists/s/main/binary-amd64/Packages{packed}").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    whole = f"Components: main\nSHA256:\n {digest} 9 main/binary-amd64/Packages{packed}\n"
    (bed.root / "dists/s/InRelease").write_text(whole)
    found = Repositories(tmp_path / "indices")
    indices = {bed.address: hashlib.sha256(whole.encode()).hexdigest()}
    assert found.changed({"vim": "9.0"}, "amd64", indices) == ["vim 9.0 → 9.1"]


def test_an_index_that_unpacks_without_end_is_none(bed: Bed, tmp_path: Path) -> None:
    digest = bed.release("1", vim="9.0", other="1")
    small = Repositories(tmp_path, unpacked=20)
    assert small.changed({"vim": "9.0"}, "amd64", {bed.address: digest}) is None


def test_a_suite_that_apt_avoids_offers_nothing(bed: Bed, tmp_path: Path) -> None:
    digest = bed.release("1", "NotAutomatic: yes\n", vim="10")
    assert release("NotAutomatic: yes\n").avoided
    found = Repositories(tmp_path / "indices").changed({"vim": "9.0"}, "amd64", {bed.address: digest})
    assert found == ["vim 9.0 is not offered"]


def build(store: Store, bed: Bed, digest: str, **packages: str) -> Build:
    made = replace(stored(store, "20261121T120000Z"), upstream={bed.address: digest}, arch="amd64")  # type: ignore[arg-type]
    store.record(made, {"packages": packages}, "CC-X")
    return made


def seen(store: Store, made: Build) -> World:
    world = World(store)
    world.remember("a", [made])
    world.ask(offline=False, stop=None)
    return world


def test_a_night_without_news_for_this_image_is_one(store: Store, bed: Bed) -> None:
    made = build(store, bed, bed.release("1", vim="9.0", other="1"), vim="9.0")
    bed.release("2", vim="9.0", other="2")
    world = seen(store, made)
    assert world.match("a")[0] == made
    assert world.quiet(made) == "a repository has changed, and none of its 1 packages"
    bed.release("3", vim="9.1", other="2")
    world = seen(store, made)
    assert world.match("a") == (None, "")
    assert world.news(made) == ["vim 9.0 → 9.1"]


def test_what_has_no_list_of_packages_is_built_again_as_ever(store: Store, bed: Bed) -> None:
    made = build(store, bed, bed.release("1", vim="9.0"))
    bed.release("2", vim="9.0", other="2")
    world = seen(store, made)
    assert world.match("a") == (None, "")
    assert world.news(made) == [f"{bed.address} has changed"]
