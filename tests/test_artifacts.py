"""Artifacts from real servers on loopback: whole, broken off, gone on with, wrong. Swift is in `real/test_swift.py`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from cc_images import artifacts
from cc_images.errors import CCImagesError, Interrupted
from cc_images.model import Artifact
from cc_images.store import Store

CONTENT = b"firmware" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """A server whose faults are in the path: /gone, /short (always), /once (each answer ends early), /busy, /moves."""

    requests: ClassVar[list[tuple[str, str]]] = []
    ranges = True
    etag = '"one"'

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        Server.requests.append((self.path.partition("?")[0], wanted))
        if self.path.startswith("/gone"):
            self.send_error(404)
            return
        if self.path.startswith("/busy") and len(Server.requests) < 3:
            self.send_error(503)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and Server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if not self.path.startswith("/nameless"):
            self.send_header("ETag", Server.etag if not self.path.startswith("/moves") else f'"{len(Server.requests)}"')
        self.end_headers()
        whole = not self.path.startswith(("/short", "/once", "/moves", "/nameless"))
        self.wfile.write(CONTENT[start : None if whole else 100 if self.path.startswith("/short") else start + 3000])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(artifacts, "PAUSE", 0.01)
    monkeypatch.setattr(Server, "requests", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    found.root.mkdir()
    return found


def fetched(store: Store, url: str, sha256: str = "") -> bytes:
    blob = artifacts.fetch(Artifact(url=url, sha256=sha256), store, {}, stop=threading.Event())
    return blob.path.read_bytes()


def unfinished(store: Store) -> list[Path]:
    return list((store.root / "partial").glob("*/data"))


def test_an_artifact_comes_by_http_and_from_a_file(store: Store, server: str, tmp_path: Path) -> None:
    assert fetched(store, f"{server}/tool.run", DIGEST) == CONTENT
    (tmp_path / "a tool.run").write_bytes(CONTENT)
    assert fetched(store, f"file://{tmp_path}/a%20tool.run") == CONTENT


@pytest.mark.parametrize(
    ("path", "sha256", "message"),
    [
        ("/gone?signature=geheim", "", "cannot be fetched: 404 Not Found"),
        ("/short?signature=geheim", "", "broke off after 100 of 8000 bytes"),
        ("/tool.run?signature=geheim", "0" * 64, f"has the digest {DIGEST}"),
    ],
)
def test_a_bad_artifact_has_a_message_without_its_signature(
    store: Store, server: str, path: str, sha256: str, message: str
) -> None:
    with pytest.raises(CCImagesError, match=message) as caught:
        fetched(store, server + path, sha256)
    assert "geheim" not in caught.value.message
    assert not [blob for blob in (store.root / "blobs").rglob("*") if blob.is_file()]


def test_a_file_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(CCImagesError, match="cannot be fetched: No such") as caught:
        fetched(store, f"file://{tmp_path}/nothing")
    assert not caught.value.temporary


def test_a_broken_download_goes_on_where_it_ended(store: Store, server: str) -> None:
    assert fetched(store, f"{server}/once", DIGEST) == CONTENT
    assert [wanted for _, wanted in Server.requests] == ["", "bytes=3000-", "bytes=6000-"]
    assert unfinished(store) == []


def test_another_process_goes_on_where_a_killed_one_ended(store: Store, server: str) -> None:
    partial = store.root / "partial" / DIGEST
    partial.mkdir(parents=True)
    (partial / "data").write_bytes(CONTENT[:7000])
    assert fetched(store, f"{server}/once", DIGEST) == CONTENT
    assert [wanted for _, wanted in Server.requests] == ["bytes=7000-"]


def test_rubbish_that_was_left_is_not_gone_on_with(store: Store, server: str) -> None:
    """The digest tells, and then the file is fetched from its beginning."""
    for left in (b"x" * 7000, b"x" * 8000, b"x" * 9000):
        store.blobs.remove(DIGEST)
        partial = store.root / "partial" / DIGEST
        partial.mkdir(parents=True)
        (partial / "data").write_bytes(left)
        assert fetched(store, f"{server}/tool", DIGEST) == CONTENT


def test_a_file_that_changes_meanwhile_is_fetched_from_its_beginning(store: Store, server: str) -> None:
    """Nothing says what the whole must be, so only the server's word for its state can."""
    with pytest.raises(CCImagesError, match=r"changes while it is fetched|broke off"):
        fetched(store, f"{server}/moves")
    assert not list(store.blobs.all())


def test_without_a_name_for_its_state_and_a_digest_nothing_is_gone_on_with(store: Store, server: str) -> None:
    with pytest.raises(CCImagesError, match="broke off"):
        fetched(store, f"{server}/nameless")
    assert {wanted for _, wanted in Server.requests} == {""}


def test_a_server_without_ranges_sends_it_all_again(store: Store, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "ranges", False)
    partial = store.root / "partial" / DIGEST
    partial.mkdir(parents=True)
    (partial / "data").write_bytes(CONTENT[:7000])
    assert fetched(store, f"{server}/tool", DIGEST) == CONTENT


def test_a_server_that_is_busy_is_asked_again(store: Store, server: str) -> None:
    assert fetched(store, f"{server}/busy", DIGEST) == CONTENT
    assert len(Server.requests) == 3


def test_what_another_run_has_brought_is_not_fetched_again(store: Store, server: str) -> None:
    assert fetched(store, f"{server}/tool", DIGEST) == CONTENT
    assert fetched(store, "http://127.0.0.1:1/elsewhere", DIGEST) == CONTENT


def test_a_wrong_artifact_does_not_remove_a_right_one(store: Store, server: str) -> None:
    assert fetched(store, f"{server}/tool.run", DIGEST) == CONTENT
    with pytest.raises(CCImagesError, match="has the digest"):
        fetched(store, f"{server}/tool.run", "0" * 64)
    assert store.blobs.path(DIGEST).read_bytes() == CONTENT


def test_a_download_can_be_ended(store: Store, server: str) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        artifacts.fetch(Artifact(url=f"{server}/tool"), store, {}, stop=stop)


def test_unfinished_downloads_are_forgotten_in_the_end(
    store: Store, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CCImagesError):
        fetched(store, f"{server}/short")
    assert len(unfinished(store)) == 1
    monkeypatch.setattr(artifacts, "FORGOTTEN", -1.0)
    fetched(store, f"{server}/tool")
    assert unfinished(store) == []


def test_a_cloud_that_nobody_knows_is_named(store: Store) -> None:
    with pytest.raises(CCImagesError, match=r"site s: clouds\.yaml has no usable entry s"):
        artifacts.fetch(Artifact(object="c/o", site="s"), store, {}, stop=threading.Event())
