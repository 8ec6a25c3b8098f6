"""A folder of chunks: names and archives as in any folder, what is new alone is stored, and images come out whole."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cc_images.api.chunks import fetch
from cc_images.errors import CCImagesError, Interrupted, Reason, UserError
from cc_images.host import chunks
from cc_images.host.signing import sign
from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.model.statement import KIND, SIGNATURE, STATEMENT, canonical
from cc_images.outputs import qcow2
from cc_images.sites import open_site
from cc_images.sites.base import ImageSite, Publication
from cc_images.sites.publish import Terms, publish
from tests.conftest import lacking
from tests.unit.api.test_signatures import allowed, ssh_key
from tests.unit.sites.test_sites import Tripping, die, put, today

pytestmark = pytest.mark.skipif(bool(lacking(("casync", "qemu-img"))), reason="needs casync and qemu-img")

SIZE = 8 << 20


def disk_of(path: Path, seed: int, changed: bytes = b"") -> Path:
    """Write a disk of noise and a hole, with a change in the middle."""
    content = random.Random(seed).randbytes(SIZE // 2)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + changed + content[middle + len(changed) :] + bytes(SIZE // 2))
    return path


def published(tmp_path: Path, raw: Path) -> Publication:
    """Return what a build of a disk publishes: its qcow2 file."""
    path = tmp_path / f"{raw.name}.qcow2"
    written = qcow2.write(raw, path, cores=1, stop=threading.Event())
    return Publication(
        name="CC-X", path=path, sha512=written.sha512, size=written.size, properties={}, run="r1", details={"key": "k"}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def site(folder: Path) -> ImageSite:
    return open_site(Site(name="near", directory=str(folder), chunks=True), Format.QCOW2)


def fetched(source: str, target: Path, seed: Path | None = None) -> str:
    stop = threading.Event()
    return fetch(source, target, seed, cores=1, stop=stop, report=lambda done, whole: None).sha512


def test_the_next_version_costs_what_changed_and_both_come_out_whole(
    tmp_path: Path, folder: Path, site: ImageSite
) -> None:
    first = published(tmp_path, disk_of(tmp_path / "one", 1))
    second = published(tmp_path, disk_of(tmp_path / "two", 1, b"changed"))
    put(site, first)
    before = chunks.size(folder / chunks.STORE)
    assert before < first.size * 1.1
    put(site, second)
    assert chunks.size(folder / chunks.STORE) - before < SIZE // 40
    assert {path.name for path in folder.iterdir()} == {
        "CC-X.caibx", "CC-X.caibx.json", f"CC-X-{today()}.caibx", f"CC-X-{today()}.caibx.json", chunks.STORE,
    }  # fmt: skip
    (holder,) = [entry for entry in site.observe("CC-X") if entry.name == "CC-X"]
    assert (holder.sha512, holder.size) == (second.sha512, second.size), "the image's, not the index's"
    assert put(site, second).same
    for name, wanted in (("CC-X", second), (f"CC-X-{today()}", first)):
        assert fetched(f"{folder}/{name}.caibx", tmp_path / f"{name}.out") == wanted.sha512
        assert (tmp_path / f"{name}.out").read_bytes() == wanted.path.read_bytes()
    fetched(f"{folder}/CC-X.caibx", tmp_path / "out.raw")
    assert (tmp_path / "out.raw").read_bytes() == (tmp_path / "two").read_bytes()


def test_chunks_that_no_image_has_go_with_the_last_one(tmp_path: Path, folder: Path, site: ImageSite) -> None:
    put(site, published(tmp_path, disk_of(tmp_path / "one", 1)))
    alone = chunks.size(folder / chunks.STORE)
    wanted = published(tmp_path, disk_of(tmp_path / "two", 2))
    publish(site, wanted, Terms(keep=0, pause=0.01), stop=threading.Event())
    assert {path.name for path in folder.iterdir()} == {"CC-X.caibx", "CC-X.caibx.json", chunks.STORE}
    assert abs(chunks.size(folder / chunks.STORE) - alone) < alone // 10, "not both"
    assert fetched(f"{folder}/CC-X.caibx", tmp_path / "out") == wanted.sha512


@pytest.mark.parametrize(
    ("at", "after"),
    [
        (1, True),
        *(
            pytest.param(*each, marks=pytest.mark.long)
            for each in ((1, False), (2, False), (2, True), (3, False), (3, True))
        ),
    ],
)
def test_a_push_that_was_killed_is_finished_by_the_next(
    tmp_path: Path, folder: Path, site: ImageSite, at: int, after: bool
) -> None:
    put(site, published(tmp_path, disk_of(tmp_path / "one", 1)))
    second = published(tmp_path, disk_of(tmp_path / "two", 2))
    if os.fork() == 0:
        put(Tripping(site, at, after, die), second)
        os._exit(0)
    os.wait()
    (folder / ".chunking").mkdir(exist_ok=True)
    (folder / ".chunking" / "disk.raw").touch()  # of a push that was killed amid its chunks
    third = published(tmp_path, disk_of(tmp_path / "three", 3))
    put(site, third)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert fetched(f"{folder}/CC-X.caibx", tmp_path / "out") == third.sha512


# -- fetch -------------------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    """A server of a folder; it counts the chunks that it has sent, and fails once there were `most`."""

    sent = 0
    most = 1 << 30

    def do_GET(self) -> None:
        if self.path.endswith(".cacnk"):
            if Quiet.sent >= Quiet.most:
                self.send_error(503)
                return
            Quiet.sent += 1
        super().do_GET()

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def served(folder: Path, most: int = 1 << 30) -> Iterator[str]:
    """Serve a folder on loopback; give its address."""
    Quiet.sent, Quiet.most = 0, most
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_fetch_goes_on_where_it_ended(tmp_path: Path, folder: Path, site: ImageSite) -> None:
    wanted = published(tmp_path, disk_of(tmp_path / "one", 1))
    put(site, wanted)
    every = len({each.id for each in chunks.listed(folder / "CC-X.caibx")})
    target = tmp_path / "got.qcow2"
    with (
        served(folder, every // 2) as address,
        pytest.raises(CCImagesError, match="the server says 503") as caught,
    ):
        fetched(f"{address}/CC-X.caibx", target)
    assert caught.value.reason is Reason.FETCH
    assert not target.exists()
    with served(folder) as address:
        assert fetched(f"{address}/CC-X.caibx", target) == wanted.sha512
        assert Quiet.sent == every - every // 2, "each chunk once"
    assert hashlib.sha512(target.read_bytes()).hexdigest() == wanted.sha512
    assert not list(tmp_path.glob(".got*"))


@pytest.mark.long
def test_what_an_older_image_has_is_not_fetched(tmp_path: Path, folder: Path, site: ImageSite) -> None:
    old = published(tmp_path, disk_of(tmp_path / "one", 1))
    new = published(tmp_path, disk_of(tmp_path / "two", 1, b"changed"))
    put(site, new)
    with served(folder) as address:
        assert fetched(f"{address}/CC-X.caibx", tmp_path / "got", old.path) == new.sha512
        assert 0 < Quiet.sent < 5


def test_a_seed_that_refers_to_files_of_this_host_is_refused(tmp_path: Path, folder: Path, site: ImageSite) -> None:
    put(site, published(tmp_path, disk_of(tmp_path / "one", 1)))
    seed = tmp_path / "seed.qcow2"
    backing = ["-b", "/etc/passwd", "-F", "raw"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(seed), "1M"], check=True)
    with pytest.raises(UserError, match="refers to another file"):
        fetched(f"{folder}/CC-X.caibx", tmp_path / "got", seed)


def test_a_fetch_that_is_stopped_keeps_what_came(tmp_path: Path, folder: Path, site: ImageSite) -> None:
    put(site, published(tmp_path, disk_of(tmp_path / "one", 1)))
    stop = threading.Event()
    with served(folder) as address, pytest.raises(Interrupted):
        fetch(
            f"{address}/CC-X.caibx", tmp_path / "got", None, cores=1, stop=stop,
            report=lambda done, whole: stop.set() if done == 10 else None,
        )  # fmt: skip
    assert len(list((tmp_path / ".got.fetch" / chunks.STORE).glob("????/*.cacnk"))) >= 10


def test_a_damaged_chunk_is_found_and_does_not_stay(tmp_path: Path, folder: Path, site: ImageSite) -> None:
    wanted = published(tmp_path, disk_of(tmp_path / "one", 1))
    put(site, wanted)
    chunk = next((folder / chunks.STORE).glob("????/*.cacnk"))
    right = chunk.read_bytes()
    chunk.chmod(0o644)
    chunk.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(CCImagesError, match="is not what its description says"):
        fetched(f"{folder}/CC-X.caibx", tmp_path / "got")
    chunk.write_bytes(right)
    assert fetched(f"{folder}/CC-X.caibx", tmp_path / "got") == wanted.sha512


def test_what_is_no_image_of_chunks_is_refused(tmp_path: Path, folder: Path, site: ImageSite) -> None:
    put(site, published(tmp_path, disk_of(tmp_path / "one", 1)))
    index = folder / "CC-X.caibx"
    with pytest.raises(UserError, match="is no index of chunks"):
        fetched(f"{folder}/CC-X.qcow2", tmp_path / "got")
    with pytest.raises(CCImagesError, match=r"CC-Y\.caibx\.json cannot be fetched: No such file"):
        fetched(f"{folder}/CC-Y.caibx", tmp_path / "got")
    with pytest.raises(UserError, match="is no file"):
        fetched(str(index), tmp_path / "got", tmp_path / "nothing")
    (tmp_path / "there").touch()
    with pytest.raises(UserError, match="there exists"):
        fetched(str(index), tmp_path / "there")
    index.write_bytes(index.read_bytes()[:-1] + b"x")
    with pytest.raises(CCImagesError, match="is not what its description says") as caught:
        fetched(str(index), tmp_path / "got")
    assert caught.value.reason is Reason.DIGEST
    (folder / "CC-X.caibx.json").write_text('{"sha512": 5}')
    with pytest.raises(UserError, match="does not describe an image that is kept as chunks"):
        fetched(str(index), tmp_path / "got")
    assert not list(tmp_path.glob(".got*")), "nothing is left of what never began"


def test_an_index_is_read_or_refused(tmp_path: Path) -> None:
    raw, store, index = disk_of(tmp_path / "one", 1), tmp_path / "store", tmp_path / "one.caibx"
    chunks.make(raw, index, store, stop=threading.Event())
    found = chunks.listed(index)
    assert found[-1].end == SIZE
    assert chunks.lacking(index, store) == []
    assert chunks.collect(store, [index]) == 0
    for wrong in (b"", b"x" * 200):
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(ValueError, match="is no index of chunks"):
            chunks.listed(tmp_path / "wrong")
        assert chunks.collect(store, [tmp_path / "wrong"]) == 0, "nothing is removed that may be in use"
    assert chunks.collect(store, []) > SIZE // 3


@pytest.mark.skipif(bool(lacking(("ssh-keygen",))), reason="needs ssh-keygen")
def test_only_what_a_trusted_key_has_signed_is_fetched(tmp_path: Path, folder: Path, site: ImageSite) -> None:
    key = ssh_key(tmp_path, "key")
    plain = published(tmp_path, disk_of(tmp_path / "one", 1))
    put(site, plain)
    index = str(folder / "CC-X.caibx")

    def wanted(target: str, trusted: Path) -> None:
        stop = threading.Event()
        fetch(index, tmp_path / target, None, cores=1, stop=stop, report=lambda done, whole: None, trusted=trusted)

    with pytest.raises(CCImagesError, match="it is not signed"):
        wanted("a.qcow2", allowed(tmp_path, key))
    digests = {"sha512": plain.sha512}
    said = canonical(
        {
            "_type": KIND,
            "subject": [{"name": "CC-X.qcow2", "digest": digests}],
            "predicate": {
                "buildDefinition": {"externalParameters": {"architecture": "amd64"}},
                "runDetails": {"metadata": {"invocationId": "v1"}},
            },
        }
    )
    signed = {STATEMENT: said, SIGNATURE: sign(said, str(key)), "build-version": "v1"}
    put(site, replace(plain, properties=signed, run="r2"))
    with pytest.raises(UserError, match="is to be a raw disk"):
        wanted("a.raw", allowed(tmp_path, key))
    wanted("a.qcow2", allowed(tmp_path, key))
    assert (tmp_path / "a.qcow2").stat().st_size == plain.size
    with pytest.raises(CCImagesError):
        wanted("b.qcow2", allowed(tmp_path, ssh_key(tmp_path, "other")))
