"""Bytes between builder host and hub: whole whatever breaks, never twice, and never others than the digest says."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, Interrupted, Reason, UserError
from cc_images.model.attempt import Ticket
from cc_images.remote import client
from cc_images.remote.hub import Hub
from cc_images.remote.protocol import Fenced, Limits
from cc_images.store.records import Store
from tests.conftest import samples
from tests.support import hubs
from tests.support.certificates import certificate

SIZE = 3_000_000


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate for loopback and its key."""
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["tls", "loopback", "unix"])
def ticket(request: pytest.FixtureRequest, store: Store, tmp_path: Path, tls: tuple[Path, Path]) -> Iterator[Ticket]:
    """Return a ticket for a hub by each way there is."""
    listen = f"unix:{tmp_path}/hub" if request.param == "unix" else "127.0.0.1:0"
    with Hub(store, listen, tls if request.param == "tls" else None).serving() as address:
        yield hubs.ticket(address, ca=tls[0].read_text() if request.param == "tls" else "")


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return hubs.digest_of(content)


def test_an_attempt_from_ticket_to_result(store: Store, tmp_path: Path, ticket: Ticket) -> None:
    content = os.urandom(SIZE)
    layer = hubs.blob(store, content)
    files = hubs.attempt(store, inputs=(layer,), trusted=True, secrets={"PASSWORD": "canary"})
    hub = client.Hub(ticket, patience=5)
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    lease = hub.lease("nonce")
    assert (lease.seconds, lease.stop) == (60.0, False)
    assert began <= lease.asked <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert hub.bundle() == {"format": 1, "jobs": [1]}
    assert hub.secrets() == {"PASSWORD": "canary"}
    reports: list[tuple[int, int]] = []
    hub.fetch(layer, tmp_path / "layer", lambda done, total: reports.append((done, total)))
    assert (tmp_path / "layer").read_bytes() == content
    assert reports[-1] == (SIZE, SIZE)
    assert hub.stream(0, b"one\n") == 4
    assert hub.stream(0, b"one\ntwo\n") == 8
    digest = written(tmp_path / "out", os.urandom(SIZE))
    assert not hub.has(digest)
    hub.put(tmp_path / "out", digest)
    empty = written(tmp_path / "empty", b"")
    hub.put(tmp_path / "empty", empty)
    hub.fetch(digest, tmp_path / "back")
    hub.fetch(empty, tmp_path / "nothing")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "out").read_bytes()
    assert (tmp_path / "nothing").read_bytes() == b""
    files.ask_to_stop()
    assert hub.lease("nonce").stop
    plain = {"format": 1, "attempt": files.attempt, "tasks": [], "blobs": {digest: SIZE, empty: 0}}
    hub.put_result(plain)
    hub.put_result(plain)
    assert files.result() == plain
    assert files.stream.read_bytes() == b"one\ntwo\n"
    assert store.blobs.looks_intact(digest, SIZE)
    with pytest.raises(Fenced):
        client.Hub(ticket, patience=5).lease("another")
    files.fence("enough")
    for call in (hub.bundle, lambda: hub.has(digest), lambda: hub.put(tmp_path / "out", digest), hub.secrets,
                 lambda: hub.stream(8, b"x"), lambda: hub.fetch(layer, tmp_path / "again")):  # fmt: skip
        with pytest.raises(Fenced, match="is fenced"):
            call()


# -- links that break ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["tls", "loopback"])
def test_bytes_are_equal_after_many_cuts(store: Store, tmp_path: Path, tls: tuple[Path, Path], scheme: str) -> None:
    """Both ways, at random offsets: also within the handshake and the headers."""
    dice, wanted = random.Random(21), samples(20, 200)
    content, back = dice.randbytes(3_000_000), dice.randbytes(3_000_000)
    layer = hubs.blob(store, content)
    files = hubs.attempt(store, inputs=(layer,))
    digest = written(tmp_path / "out", back)
    lines = b"".join(b"line %d\n" % number for number in range(20_000))

    def budget() -> int | None:
        return dice.choice([dice.randrange(1, 3000), dice.randrange(1, 60_000)]) if link.cuts < wanted else None

    with (
        Hub(store, tls=tls if scheme == "tls" else None).serving() as address,
        hubs.Cutting(address, budget) as link,
    ):
        hub = client.Hub(
            hubs.ticket(link.address, ca=tls[0].read_text() if scheme == "tls" else ""), patience=30, longest_pause=0.01
        )
        at = 0
        while at < len(lines) // 2:
            at = hub.stream(at, lines[at : at + 5000])
        hub.put(tmp_path / "out", digest)
        hub.fetch(layer, tmp_path / "layer")
        while at < len(lines):
            at = hub.stream(at, lines[at : at + 5000])
        hub.put_result({"format": 1, "attempt": files.attempt, "tasks": [], "blobs": {digest: len(back)}})
        cuts = link.cuts
    assert cuts >= wanted
    assert (tmp_path / "layer").read_bytes() == content
    assert store.blobs.path(digest).read_bytes() == back
    assert files.stream.read_bytes() == lines
    assert files.result() is not None


def test_nothing_travels_twice(store: Store, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    layer, digest = hubs.blob(store, content), written(tmp_path / "out", os.urandom(SIZE))
    for number in (1, 2):
        hubs.attempt(store, number, inputs=(layer,))
    with Hub(store).serving() as address, hubs.Cutting(address, lambda: None) as link:
        first, second = (client.Hub(hubs.ticket(link.address, number), patience=5) for number in (1, 2))
        first.fetch(layer, tmp_path / "layer")
        first.put(tmp_path / "out", digest)
        assert (link.up > SIZE, link.down > SIZE) == (True, True)
        link.up = link.down = 0
        second.fetch(layer, tmp_path / "layer")
        assert (link.up, link.down) == (0, 0), "a builder that has the layer"
        second.put(tmp_path / "out", digest)
        assert link.up < 500
        assert link.down < 500


def test_a_broken_transfer_goes_on_where_it_was(store: Store, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    layer, digest = hubs.blob(store, content), written(tmp_path / "out", os.urandom(SIZE))
    hubs.attempt(store, inputs=(layer,))
    cuts = [SIZE * 3 // 4]
    with Hub(store).serving() as address, hubs.Cutting(address, lambda: cuts.pop() if cuts else None) as link:
        client.Hub(hubs.ticket(link.address), patience=30).put(tmp_path / "out", digest)
        assert SIZE < link.up < SIZE * 1.2
        cuts.append(SIZE * 3 // 4)
        client.Hub(hubs.ticket(link.address), patience=5).fetch(layer, tmp_path / "layer")
        assert SIZE < link.down < SIZE * 1.2


def test_the_rest_alone_is_sent_when_a_connection_that_dies_still_brings_some(store: Store, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    digest = written(tmp_path / "out", content)
    files = hubs.attempt(store)
    whole = hubs.request("PUT", f"/v1/attempts/{files.attempt}/outputs/{digest}?at=0&size={SIZE}", content)
    with Hub(store).serving() as address, hubs.Cutting(address, lambda: None) as link:
        host, _, port = address.removeprefix("http://").partition(":")
        dying = socket.create_connection((host, int(port)))
        dying.sendall(whole[: -SIZE // 2])
        assert hubs.until(lambda: files.outputs.end(digest) > SIZE // 4)
        threading.Timer(0.5, dying.close).start()
        client.Hub(hubs.ticket(link.address), patience=30).put(tmp_path / "out", digest)
        assert SIZE // 2 < link.up < SIZE // 2 + 2000
    assert store.blobs.is_intact(digest)


def test_a_piece_of_another_process_is_gone_on_with_or_thrown_away(store: Store, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    layer = hubs.blob(store, content)
    hubs.attempt(store, inputs=(layer,))
    pieces = [content[:100_000], os.urandom(100_000), content, content + b"more"]
    with Hub(store).serving() as address:
        for number, piece in enumerate(pieces):
            (tmp_path / f".{number}.part").write_bytes(piece)
            client.Hub(hubs.ticket(address), patience=5).fetch(layer, tmp_path / str(number))
            assert (tmp_path / str(number)).read_bytes() == content
    assert not list(tmp_path.glob(".*.part"))


def test_a_piece_that_the_hub_lost_in_part_is_sent_again(store: Store, tmp_path: Path) -> None:
    files = hubs.attempt(store)
    digest = written(tmp_path / "out", os.urandom(SIZE))
    (files.folder / "partial" / digest).write_bytes(b"zeros of a power failure" * 1000)
    with Hub(store).serving() as address:
        client.Hub(hubs.ticket(address), patience=5).put(tmp_path / "out", digest)
    assert store.blobs.is_intact(digest)


@pytest.mark.long
def test_the_hub_is_killed_while_bytes_come(store: Store, tmp_path: Path) -> None:
    """It is away for a moment each time, twice while an output comes and once while an input goes."""
    content = os.urandom(32 << 20)
    layer, digest = hubs.blob(store, content), written(tmp_path / "out", content[::-1])
    hubs.attempt(store, inputs=(layer,))
    process = hubs.HubProcess(store.root)
    process.start()
    moments, starts = [8 << 20, 20 << 20], [threading.Timer(0.3, process.start) for _ in range(3)]
    waiting = iter(starts)

    def kill(done: int, total: int) -> None:
        if moments and done > moments[0]:
            moments.pop(0)
            process.kill()
            next(waiting).start()

    hub = client.Hub(hubs.ticket(f"http://{process.listen}"), patience=60, longest_pause=0.2)
    hub.put(tmp_path / "out", digest, kill)
    assert not moments
    moments.append(16 << 20)
    hub.fetch(layer, tmp_path / "layer", kill)
    assert not moments
    for each in starts:
        each.join()
    assert process.end() == 0
    assert store.blobs.is_intact(digest)
    assert (tmp_path / "layer").read_bytes() == content


def test_a_hub_that_is_gone_is_waited_for_as_long_as_the_caller_says(store: Store) -> None:
    hubs.attempt(store)
    hub = client.Hub(hubs.ticket(f"http://127.0.0.1:{hubs.free_port()}"), patience=1.0)
    began = time.monotonic()
    with pytest.raises(CCImagesError, match="does not answer") as raised:
        hub.bundle()
    assert 0.5 < time.monotonic() - began < 3.0
    assert (raised.value.reason, raised.value.temporary) == (Reason.HUB, True)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        client.Hub(hubs.ticket(f"http://127.0.0.1:{hubs.free_port()}"), patience=60, stop=stop).bundle()
    assert time.monotonic() - began < 3.0


# -- several at once -------------------------------------------------------------------------------------------------


def test_two_uploads_of_the_same_digest_at_once(store: Store, tmp_path: Path) -> None:
    """By two threads of one attempt, and by two attempts."""
    digest = written(tmp_path / "out", os.urandom(20 << 20))
    hubs.attempt(store, 1)
    hubs.attempt(store, 2)
    with Hub(store).serving() as address, ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(client.Hub(hubs.ticket(address, number), patience=30).put, tmp_path / "out", digest)
                for number in (1, 1, 2, 2)]  # fmt: skip
        for each in sent:
            each.result(60)
    assert store.blobs.is_intact(digest)
    assert len(list(store.blobs.all())) == 1
    assert not list(store.root.glob("attempts/*/partial/*"))


def test_many_builders_at_once(store: Store, tmp_path: Path, tls: tuple[Path, Path]) -> None:
    layer = hubs.blob(store, os.urandom(1 << 20))

    def build(number: int) -> str:
        hub = client.Hub(hubs.ticket(address, number, tls[0].read_text()), patience=30)
        hub.lease(f"n{number}")
        hub.fetch(layer, tmp_path / f"layer-{number}")
        digest = written(tmp_path / f"out-{number}", os.urandom(300_000))
        at = 0
        for line in range(20):
            at = hub.stream(at, b"%d %d\n" % (number, line))
        hub.put(tmp_path / f"out-{number}", digest)
        hub.put_result({"format": 1, "attempt": f"a{number:032x}", "tasks": [], "blobs": {digest: 300_000}})
        return digest

    every = [hubs.attempt(store, number, inputs=(layer,)) for number in range(1, 25)]
    with Hub(store, tls=tls).serving() as address, ThreadPoolExecutor(24) as pool:
        digests = [*pool.map(build, range(1, 25))]
    assert all(store.blobs.is_intact(digest) for digest in digests)
    for number, files in enumerate(every, 1):
        assert files.stream.read_bytes() == b"".join(b"%d %d\n" % (number, line) for line in range(20))
        assert files.result() is not None


# -- lies ------------------------------------------------------------------------------------------------------------


def test_a_builder_whose_file_is_another_is_stopped_at_both_ends(store: Store, tmp_path: Path) -> None:
    hubs.attempt(store)
    written(tmp_path / "out", os.urandom(SIZE))
    with Hub(store).serving() as address, pytest.raises(CCImagesError, match="is not what its digest") as raised:
        client.Hub(hubs.ticket(address), patience=3).put(tmp_path / "out", "d" * 64)
    assert raised.value.reason is Reason.DAMAGED
    assert list(store.blobs.all()) == []


@contextmanager
def lying(*answers: bytes | Callable[[socket.socket], None]) -> Iterator[str]:
    """Be a hub that gives these answers, one a connection, and the last one for ever."""
    listener, left = socket.create_server(("127.0.0.1", 0)), list(answers)

    def serve() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link, suppress(OSError):
                link.settimeout(5)
                said = left.pop(0) if len(left) > 1 else left[0]
                got = b""
                while b"\r\n\r\n" not in got:
                    got += link.recv(65536)
                if callable(said):
                    said(link)
                else:
                    link.sendall(said)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def ok(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return (
        "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers, "", ""]).encode()
        + body
    )


PARTIAL = "206 Partial Content"

LIES: dict[str, tuple[bytes, str]] = {
    "other bytes": (ok(b"x" * 1000), "sends other bytes"),
    "no length": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nxyz", "another range"),
    "a range nobody asked for": (ok(b"xyz", "Content-Range: bytes 5-7/8", status=PARTIAL), "another range"),
    "a range of another size": (ok(b"xyz", "Content-Range: bytes 0-9/10", status=PARTIAL), "another range"),
    "fewer bytes than it says": (ok(b"xyz", length=1000), "does not answer"),
    "no HTTP": (b"\x00" * 100, "does not answer"),
    "endless headers": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000, "does not answer"),
    "another place": (ok(b"", "Location: http://127.0.0.1:1/", status="302 Found"), "refuses"),
    "a refusal with a control sequence": (ok(b'{"error": "\\u001b[2Jgone"}', status="404 Not Found"), r"\?\[2Jgone"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_hub_that_lies_gives_nothing(tmp_path: Path, name: str) -> None:
    lie, said = LIES[name]
    with lying(lie) as address:
        hub = client.Hub(hubs.ticket(address), patience=0.5)
        with pytest.raises(CCImagesError, match=said) as raised:
            hub.fetch(hubs.digest_of(b"right"), tmp_path / "layer")
    assert not (tmp_path / "layer").exists()
    assert hubs.TOKEN not in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"seconds": -5}', b'{"seconds": "60"}', b'{"format": 2, "seconds": 60}', b"[" * 9999]
)
def test_a_lease_that_is_none_is_none(body: bytes) -> None:
    with lying(ok(body)) as address, pytest.raises(CCImagesError, match="answer is wrong"):
        client.Hub(hubs.ticket(address), patience=0.5).lease("n")


def test_an_offset_that_is_none_is_not_sent_to(tmp_path: Path) -> None:
    digest = written(tmp_path / "out", b"abc")
    for offset, said in (("-1", "names no"), ("x", "names no"), ("9" * 30, "names no"), ("99", "more of an output")):
        lie = ok(b"", f"Upload-Offset: {offset}", status="404 Not Found")
        with lying(lie) as address, pytest.raises(CCImagesError, match=said):
            client.Hub(hubs.ticket(address), patience=0.3).put(tmp_path / "out", digest)


def test_a_hub_that_finds_another_digest_twice_is_given_up(store: Store, tmp_path: Path) -> None:
    digest = written(tmp_path / "out", b"abc")
    lie = ok(b"", "Upload-Offset: 0", status="404 Not Found"), ok(b"{}", status="422 Unprocessable Entity")
    with lying(*lie, *lie) as address, pytest.raises(CCImagesError, match="another digest") as raised:
        client.Hub(hubs.ticket(address), patience=5).put(tmp_path / "out", digest)
    assert raised.value.reason is Reason.DIGEST


def test_another_hub_is_not_spoken_to(store: Store, tmp_path: Path, tls: tuple[Path, Path]) -> None:
    hubs.attempt(store)
    other = tmp_path / "other"
    other.mkdir()
    elsewhere = certificate(tmp_path, "elsewhere", "DNS:elsewhere.example.org")
    for served, known in ((certificate(other), tls), (elsewhere, elsewhere)):
        with Hub(store, tls=served).serving() as address:
            hub = client.Hub(hubs.ticket(address, ca=known[0].read_text()), patience=30)
            began = time.monotonic()
            with pytest.raises(CCImagesError, match="is not the one of the ticket"):
                hub.bundle()
            assert time.monotonic() - began < 5


def test_no_token_goes_to_where_nobody_is_known(tls: tuple[Path, Path]) -> None:
    for address, ca in (("http://192.0.2.1:80", ""), ("https://127.0.0.1:1", ""), ("ftp://127.0.0.1", ""),
                        ("http://localhost.example.org:1", ""), ("", ""),
                        ("https://127.0.0.1:1", "no certificate")):  # fmt: skip
        with pytest.raises(UserError):
            client.Hub(hubs.ticket(address, ca=ca))


# -- room ------------------------------------------------------------------------------------------------------------


@contextmanager
def small(place: Path, mebibytes: int) -> Iterator[None]:
    """Have a file system of this size."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "small", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.real
def test_a_full_disk_at_the_head_is_said_and_gone_on_from(tmp_path: Path) -> None:
    place = tmp_path / "small"
    with small(place, 100):
        store = Store(place / "store")
        files = hubs.attempt(store)
        digest = written(tmp_path / "out", os.urandom(30 << 20))
        with Hub(store).serving() as address:
            hub = client.Hub(hubs.ticket(address), patience=5)
            (place / "filler").write_bytes(bytes(30 << 20))
            with pytest.raises(CCImagesError, match="no room") as raised:
                hub.put(tmp_path / "out", digest)
            assert raised.value.reason is Reason.DISK_FULL
            filler = place / "more"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
            with suppress(OSError), filler.open("ab", buffering=0) as file:
                while True:
                    file.write(b"x")
            with pytest.raises(CCImagesError, match="no room"):
                hub.stream(0, b"x" * 500_000)
            assert files.stream.stat().st_size == 0
            with pytest.raises(CCImagesError, match="no room"):
                hub.lease("one")
            assert files.last_grant() is None
            filler.unlink()
            (place / "filler").unlink()
            hub.put(tmp_path / "out", digest)
            assert hub.lease("one").seconds == 60
        assert store.blobs.is_intact(digest)


@pytest.mark.real
@pytest.mark.long
def test_a_disk_that_fills_up_while_an_output_comes(tmp_path: Path) -> None:
    place = tmp_path / "small"
    with small(place, 140):
        store = Store(place / "store")
        files = hubs.attempt(store)
        digest = written(tmp_path / "out", os.urandom(60 << 20))
        filled = threading.Event()

        def fill(done: int, total: int) -> None:
            if done > total // 3 and not filled.is_set():
                filled.set()
                with suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(1 << 20))

        with Hub(store).serving() as address:
            hub = client.Hub(hubs.ticket(address), patience=5)
            with pytest.raises(CCImagesError, match="no room"):
                hub.put(tmp_path / "out", digest, fill)
            assert filled.is_set()
            kept = files.outputs.end(digest)
            assert 0 < kept < 60 << 20
            (place / "filler").unlink()
            hub.put(tmp_path / "out", digest)
        assert store.blobs.is_intact(digest)


@pytest.mark.real
def test_a_full_disk_at_the_builder_is_said_at_once(tmp_path: Path, store: Store) -> None:
    layer = hubs.blob(store, os.urandom(5 << 20))
    hubs.attempt(store, inputs=(layer,))
    began = time.monotonic()
    with small(tmp_path / "small", 2), Hub(store).serving() as address:
        with pytest.raises(CCImagesError) as raised:
            client.Hub(hubs.ticket(address), patience=60).fetch(layer, tmp_path / "small" / "layer")
        assert not (tmp_path / "small" / "layer").exists()
    assert raised.value.reason is Reason.DISK_FULL
    assert time.monotonic() - began < 10


def test_a_link_in_place_of_a_piece_is_not_followed(tmp_path: Path, store: Store) -> None:
    layer = hubs.blob(store, b"abc")
    hubs.attempt(store, inputs=(layer,))
    (tmp_path / "precious").write_text("of somebody")
    (tmp_path / ".layer.part").symlink_to("precious")
    with Hub(store).serving() as address, pytest.raises(CCImagesError):
        client.Hub(hubs.ticket(address), patience=1).fetch(layer, tmp_path / "layer")
    assert (tmp_path / "precious").read_text() == "of somebody"


def test_an_idle_connection_that_the_hub_closed_costs_nothing(store: Store) -> None:
    hubs.attempt(store)
    with Hub(store, limits=Limits(idle_seconds=0.3)).serving() as address:
        hub = client.Hub(hubs.ticket(address), patience=0.0)
        for _ in range(3):
            assert hub.bundle() == json.loads('{"format": 1, "jobs": [1]}')
            time.sleep(1.0)
