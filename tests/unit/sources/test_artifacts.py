"""Artifacts from real servers on loopback: whole, broken off, gone on with, wrong. Swift is in `real/test_swift.py`."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from cc_images.api.removal import pruned
from cc_images.errors import CCImagesError, Interrupted
from cc_images.model.catalog import Download
from cc_images.sources import artifacts
from cc_images.store.records import Store

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
    blob = artifacts.fetch(Download(url=url, sha256=sha256), store, {}, stop=threading.Event(), pause=0.005)
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
    with pytest.raises(CCImagesError, match=r"changed during the download|broke off"):
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
        artifacts.fetch(Download(url=f"{server}/tool"), store, {}, stop=stop, pause=0.01)


def test_unfinished_downloads_are_forgotten_in_the_end(store: Store, server: str) -> None:
    with pytest.raises(CCImagesError):
        fetched(store, f"{server}/short")
    assert len(unfinished(store)) == 1
    artifacts.forget_old(store)
    assert len(unfinished(store)) == 1
    artifacts.forget_old(store, seconds=-1.0)
    assert unfinished(store) == []


def test_a_cloud_that_nobody_knows_is_named(store: Store) -> None:
    with pytest.raises(CCImagesError, match=r"site s: clouds\.yaml has no usable entry s"):
        artifacts.fetch(Download(object="c/o", site="s"), store, {}, stop=threading.Event(), pause=0.01)


class Trickster(BaseHTTPRequestHandler):
    """A server that answers as the test wants: by request number and range, a list of raw answers."""

    answers: ClassVar[Callable[[int, int, BaseHTTPRequestHandler], bytes]]
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        Trickster.seen.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.wfile.write(Trickster.answers(len(Trickster.seen), start, self))
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def trickster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[..., bytes]], str]]:
    monkeypatch.setattr(Trickster, "seen", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Trickster) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()

        def serve(answers: Callable[..., bytes]) -> str:
            monkeypatch.setattr(Trickster, "answers", staticmethod(answers), raising=False)
            return f"http://127.0.0.1:{httpd.server_port}/x"

        yield serve
        httpd.shutdown()


Serve = Callable[[Callable[..., bytes]], str]


def answer(status: str, body: bytes = b"", **headers: object) -> bytes:
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{named}\r\n".encode() + body


def test_a_server_that_ends_early_and_has_nothing_behind_it_is_given_up(store: Store, trickster: Serve) -> None:
    url = trickster(
        lambda number, start, _: answer("416 No") if start else answer("200 OK", b"x" * 100, Content_Length=200)
    )
    with pytest.raises(CCImagesError, match=r"cannot be fetched: 416|broke off"):
        fetched(store, url, DIGEST)
    assert len(Trickster.seen) < 12


def test_progress_is_more_than_there_ever_was(store: Store, trickster: Serve) -> None:
    url = trickster(lambda number, start, _: answer("200 OK", b"x" * (100 + number % 2), Content_Length=200))
    with pytest.raises(CCImagesError, match="broke off"):
        fetched(store, url)
    assert len(Trickster.seen) < 12


def test_what_came_before_a_break_is_kept_to_the_last_byte(store: Store, trickster: Serve) -> None:
    def reset(number: int, start: int, handler: BaseHTTPRequestHandler) -> bytes:
        end = len(CONTENT)
        head = answer("206 Partial", Content_Range=f"bytes {start}-{end - 1}/{end}", Content_Length=end - start)
        handler.wfile.write((head if start else answer("200 OK", Content_Length=end)) + CONTENT[start : start + 3000])
        handler.wfile.flush()
        time.sleep(0.1)
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)  # a reset, not an end
        handler.connection.close()
        return b""

    assert fetched(store, trickster(reset), DIGEST) == CONTENT
    assert Trickster.seen == ["", "bytes=3000-", "bytes=6000-"]


@pytest.mark.parametrize("span", ["", "bytes */100", "bytes 0-99/200"])
def test_a_part_that_nobody_asked_for_is_never_taken_for_the_file(store: Store, trickster: Serve, span: str) -> None:
    def lying(number: int, start: int, _: object) -> bytes:
        more = {"Content_Range": span} if span else {}
        if start:
            return answer("206 Partial", b"B" * 100, Content_Length=100, ETag='"e"', **more)
        return answer("200 OK", b"A" * 100, Content_Length=200, ETag='"e"')

    with pytest.raises(CCImagesError, match=r"cannot be fetched|broke off"):
        fetched(store, trickster(lying))
    assert not list(store.blobs.all())


def test_weak_names_of_a_state_join_nothing(store: Store, trickster: Serve) -> None:
    url = trickster(lambda number, start, _: answer("200 OK", b"A" * 100, Content_Length=200, ETag='W/"1"'))
    with pytest.raises(CCImagesError, match="broke off"):
        fetched(store, url)
    assert set(Trickster.seen) == {""}


def test_a_download_that_was_whole_when_its_process_was_killed_is_not_fetched_again(store: Store, server: str) -> None:
    partial = store.root / "partial" / DIGEST
    partial.mkdir(parents=True)
    (partial / "data").write_bytes(CONTENT)
    assert fetched(store, f"{server}/tool", DIGEST) == CONTENT
    assert [wanted for _, wanted in Server.requests] == ["bytes=8000-"]


def test_a_redirection_says_nothing_of_a_signature(store: Store, trickster: Serve) -> None:
    url = trickster(lambda number, start, _: answer("302 Found", Location="gopher://h/x?sig=GEHEIM"))
    with pytest.raises(CCImagesError, match="cannot be fetched: 302 Found") as caught:
        fetched(store, url)
    assert "GEHEIM" not in str(caught.value.message) + caught.value.hint


def test_a_length_that_is_no_number_is_none(store: Store, trickster: Serve) -> None:
    assert fetched(store, trickster(lambda *_: answer("200 OK", b"abc", Content_Length="abc"))) == b"abc"


def test_a_login_in_the_address_goes_in_a_header(store: Store, trickster: Serve) -> None:
    def asked(number: int, start: int, handler: BaseHTTPRequestHandler) -> bytes:
        return answer("200 OK", handler.headers.get("Authorization", "none").encode())

    url = trickster(asked).replace("http://", "http://us%40er:geheim@").replace("/x", "/größe x".replace(" ", "%20"))
    assert fetched(store, url) == b"Basic " + base64.b64encode(b"us@er:geheim")


@pytest.mark.parametrize(
    "url", ["mirror.invalid/x?sig=geheim", "http://[::1/x?sig=geheim", "http://127.0.0.1:x/?sig=geheim"]
)
def test_an_address_that_is_none_has_a_message_without_its_signature(store: Store, url: str) -> None:
    with pytest.raises(CCImagesError) as caught:
        fetched(store, url)
    assert "geheim" not in caught.value.message + caught.value.hint
    assert not caught.value.temporary


def test_a_signature_may_stand_behind_a_hash() -> None:
    artifact = Download(url="https://h.invalid/y.tgz#sig=GEHEIM")
    assert (artifact.shown, artifact.basename) == ("https://h.invalid/y.tgz", "y.tgz")
    assert Download(url="https://h.invalid/d/..").basename not in ("..", "")


def test_unfinished_downloads_make_room_unless_somebody_goes_on_with_them(store: Store, server: str) -> None:
    with pytest.raises(CCImagesError):
        fetched(store, f"{server}/short", DIGEST)
    with store.lock(f"artifact {DIGEST}"):
        assert pruned(store, keep=9, cap=None, dry_run=False) == []
    ((gone, _, freed),) = pruned(store, keep=9, cap=None, dry_run=False)
    assert (gone.name, gone.version, freed > 0) == ("unfinished download", DIGEST, True)
    assert unfinished(store) == []
