"""Hostile callers on the wire: what is no HTTP or two kinds of it, slow clients, and readers that never read."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from cc_images.web import app, guard
from cc_images.web.connection import MOST_OF_PEER, Patience
from cc_images.web.service import STREAMS
from cc_images.web.sessions import COOKIE
from tests.support.certificates import certificate
from tests.support.servicebed import ServiceBed
from tests.support.wire import Wire, request, rest_of, served, status
from tests.unit.web.test_interface import FILE, RUN

JSON = "Content-Type: application/json"
BODY = b'{"images":["cc-one"]}'
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKS = b"15\r\n" + BODY + b"\r\n0\r\n\r\n"
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: service\r\n\r\n"

SMUGGLED = {
    "two lengths": ([LENGTH, "Content-Length: 5"], BODY),
    "a list of lengths": ([f"Content-Length: {len(BODY)}, 5"], BODY),
    "length and chunks": (["Content-Length: 3", "Transfer-Encoding: chunked"], CHUNKS),
    "chunks and length": (["Transfer-Encoding: chunked", "Content-Length: 3"], CHUNKS),
    "another coding": (["Transfer-Encoding: gzip, chunked"], CHUNKS),
    "chunked twice": (["Transfer-Encoding: chunked, chunked"], CHUNKS),
    "nearly chunked": (["Transfer-Encoding: xchunked"], CHUNKS),
    "chunked behind a control": (["Transfer-Encoding: \x0bchunked"], CHUNKS),
    "a space before the colon": (["Transfer-Encoding : chunked"], CHUNKS),
    "a negative length": (["Content-Length: -1"], BODY),
    "a length with a sign": ([f"Content-Length: +{len(BODY)}"], BODY),
    "a length in hexadecimal": (["Content-Length: 0x15"], BODY),
    "a chunk with a sign": (["Transfer-Encoding: chunked"], b"+15\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk that is none": (["Transfer-Encoding: chunked"], b"ZZ\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "an empty name": ([": x"], b""),
    "a return within a value": (["X-A: b\rContent-Length: 3"], b""),
    "a null within a value": (["X-A: b\0c"], b""),
    "two hosts": (["Host: other"], b""),
}


def test_nothing_is_smuggled_behind_a_request(bed: ServiceBed) -> None:
    with served(bed) as wire:
        for name, (headers, body) in SMUGGLED.items():
            said = wire.say(request("POST", "/build", JSON, *headers, who="ada", body=body + SECOND, close=False))
            assert status(said) == 400, (name, said[:200])
            assert said.count(b"HTTP/1.1 ") == 1, name
    assert {(method, code) for method, _, code in bed.app.state.figures} == {("POST", 400)}, (
        "nobody asked for /smuggled"
    )
    bed.look()
    assert bed.runs.launches == []


def test_two_requests_on_one_connection_are_two(bed: ServiceBed) -> None:
    with served(bed) as wire:
        first = request("POST", "/build", JSON, LENGTH, LENGTH, who="ada", body=BODY, close=False)
        said = wire.say(first + request("GET", "/account", who="bob"))
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert said.index(b'"id"') < said.index(b'"bob"')


@pytest.mark.parametrize("length", ["9" * 18, "9" * 19, "9" * 20, str(guard.MOST_BODY + 1)])
def test_a_body_that_says_that_it_is_too_large_is_not_waited_for(bed: ServiceBed, length: str) -> None:
    with served(bed) as wire:
        assert status(wire.say(request("POST", "/build", JSON, f"Content-Length: {length}", who="ada"))) == 413


def test_a_body_without_a_length_has_an_end(bed: ServiceBed) -> None:
    many = (b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * (guard.MOST_BODY // 0x4000 + 1)
    with served(bed) as wire:
        said = wire.say(request("POST", "/build", JSON, "Transfer-Encoding: chunked", who="ada", body=many))
    assert status(said) == 413


ELSEWHERE = [("GET", "http://evil.example/account"), ("CONNECT", "evil.example:80"), ("OPTIONS", "*"),
             ("GET", "//evil.example/account"), ("GET", "/../account"), ("GET", "/build/..%2f..%2faccount"),
             ("TRACE", "/account"), ("GETX", "/account"), ("GET", "/account/"), ("POST", "/builds/")]  # fmt: skip


@pytest.mark.parametrize(("method", "target"), ELSEWHERE)
def test_the_service_is_no_proxy_and_leads_nowhere(bed: ServiceBed, method: str, target: str) -> None:
    with served(bed) as wire:
        said = wire.say(request(method, target, "X-HTTP-Method-Override: DELETE", who="ada"))
    assert status(said) in (404, 405)
    assert b"evil" not in said.lower()
    assert b"location:" not in said.lower()


def test_no_answer_repeats_what_a_host_header_says(bed: ServiceBed) -> None:
    for path in (
        "/account",
        "/account/",
        "/builds",
        "/builds/",
        "/build",
        "/api/v1/openapi.json",
        "/nothing",
        "/health",
    ):
        answer = bed.ask("ada", "GET", path, headers={"host": "evil.example", "x-forwarded-host": "evil.example",
                                                      "forwarded": "host=evil.example"})  # fmt: skip
        assert "evil" not in answer.text + str(answer.headers), path


def test_where_a_client_is_only_a_proxy_on_this_host_may_say(bed: ServiceBed) -> None:
    wrong = "Authorization: Basic YWRhOm5vbmUgb2YgdGhlbQ=="
    said = {"127.0.0.1": ["192.0.2.7", "192.0.2.8, 192.0.2.9", "<script>, \x1b[2J", "2001:db8::1"],
            "127.0.0.2": ["192.0.2.10"]}  # fmt: skip
    with served(bed) as wire:
        for source, values in said.items():
            for value in values:
                answer = wire.say(request("GET", "/account", f"X-Forwarded-For: {value}", wrong), source)
                assert status(answer) == 401
    rows = [each["address"] for each in bed.ask("root", "GET", "/audit").json() if each["action"] == "log-in-failed"]
    assert rows == ["127.0.0.2", "2001:db8::1", "unknown", "192.0.2.9", "192.0.2.7"]


def test_small_answers_do_not_wait_for_receipts(bed: ServiceBed) -> None:
    """A head and a body are two packets; the second one waits 40 ms when the kernel saves packets."""
    with served(bed) as wire, wire.connect() as one:
        one.sendall(request("GET", "/health", close=False))
        assert status(one.recv(2000)) == 200
        options = [other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for other in other_ends(one)]
    assert options == [1]


def other_ends(connection: socket.socket) -> Iterator[socket.socket]:
    """Yield the other end of a connection, which this process has, too."""
    for each in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        try:
            other = socket.socket(fileno=os.dup(each))
        except OSError:
            continue
        with other, suppress(OSError):
            if other.getpeername() == connection.getsockname():
                yield other


def test_one_address_has_some_connections_and_a_proxy_all(bed: ServiceBed) -> None:
    with served(bed) as wire, ExitStack() as held:
        for source in ("127.0.0.2", "127.0.0.1"):
            many = [held.enter_context(wire.connect(source=source)) for _ in range(MOST_OF_PEER)]
            answers = status(wire.say(request("GET", "/health"), source))
            assert answers == (200 if source == "127.0.0.1" else 0), source
            assert len(many) == MOST_OF_PEER
        assert status(wire.say(request("GET", "/health"), "127.0.0.3")) == 200


def test_a_head_that_does_not_come_ends_the_connection(bed: ServiceBed) -> None:
    whole = request("GET", "/health", "Cookie: " + "x" * 5000)
    with served(bed, Patience(head=0.5)) as wire, wire.connect() as silent, wire.connect() as slow:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"Broken pipe|reset"):  # noqa: PT012
            for byte in whole:
                slow.sendall(bytes([byte]))
                time.sleep(0.01)
                if time.monotonic() - began < 0.3:
                    assert status(wire.say(request("GET", "/health"))) == 200, "others are served"
        assert rest_of(silent) == b""


def test_a_second_head_that_does_not_come_ends_it_too(bed: ServiceBed) -> None:
    with served(bed, Patience(head=0.3)) as wire, wire.connect() as slow:
        slow.sendall(request("GET", "/health", close=False))
        said = b""
        while not said.endswith(b"}"):
            said += slow.recv(2000)
        slow.sendall(b"GET /hea")
        assert rest_of(slow) == b""


def test_a_body_that_does_not_come_is_an_answer_of_its_own(bed: ServiceBed) -> None:
    quick = app.made(bed.service, body_seconds=0.3)
    with served(bed, app=quick) as wire, wire.connect() as slow:
        slow.sendall(request("POST", "/build", JSON, LENGTH, who="ada", body=BODY[:5], close=False))
        assert status(rest_of(slow)) == 408, "it is closed, too"


def test_what_is_no_http_after_the_answer_began_ends_it_quietly(
    bed: ServiceBed, caplog: pytest.LogCaptureFixture
) -> None:
    build = bed.request("ada", "cc-one")
    with served(bed) as wire, wire.connect() as odd, caplog.at_level(logging.ERROR):
        odd.sendall(request("GET", f"/build/{build}/log?follow=true", "Transfer-Encoding: chunked", who="ada"))
        assert status(odd.recv(1000)) == 200
        odd.sendall(b"no chunk\r\n" * 10)
        rest_of(odd)
    assert caplog.records == []


BIG = 16 << 20


@pytest.fixture
def big(bed: ServiceBed) -> Path:
    """Let ada have a file of some megabytes; return its path in the store."""
    bed.request("ada", "cc-one")
    (build,) = [each["id"] for each in bed.ask("ada", "GET", "/builds").json()]
    bed.look()
    bed.plan(build, RUN, {"event": "started", "task": "build cc-one amd64"})
    bed.look()
    output = bed.stored(os.urandom(1 << 20) * (BIG >> 20), RUN)
    bed.finish(build, RUN)
    return bed.store.blobs.path(output.digest)


def download(who: str = "ada", *headers: str) -> bytes:
    return request("GET", f"/images/download/{FILE}", *headers, who=who)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def opened(path: Path) -> int:
    """Return how often this process, which serves, has a file open."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(each) == str(path)
        except OSError:
            continue
    return found


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def begin(wire: Wire, held: ExitStack, count: int, who: str = "ada") -> list[socket.socket]:
    """Begin downloads that nobody reads."""
    readers = [held.enter_context(wire.connect(kept=4096)) for _ in range(count)]
    for reader in readers:
        reader.sendall(download(who))
        assert reader.recv(12) == b"HTTP/1.1 200"
    return readers


def test_readers_that_never_read_cost_little_and_are_sent_away(bed: ServiceBed, big: Path) -> None:
    with served(bed, Patience(reader=1.0)) as wire, ExitStack() as held:
        assert status(wire.say(download())) == 200
        before = resident()
        readers = begin(wire, held, STREAMS)
        assert opened(big) == STREAMS
        assert status(wire.say(request("GET", "/health"))) == 200, "others are served"
        assert status(wire.say(download())) == 429, "an account has so many places"
        assert status(wire.say(download("root"))) == 200, "others have their own"
        assert resident() - before < 2 * BIG, "and not each its own"
        until(lambda: opened(big) == 0)
        for reader in readers:
            assert len(rest_of(reader)) < BIG
        assert status(wire.say(download())) == 200, "the places are free again"


def test_a_reader_that_is_slow_is_waited_for(bed: ServiceBed, big: Path) -> None:
    with served(bed, Patience(reader=0.4)) as wire, wire.connect(kept=4096) as slow:
        slow.sendall(download())
        found, began = bytearray(), time.monotonic()
        while time.monotonic() - began < 2:
            found += slow.recv(1 << 15)
            time.sleep(0.05)
        digest = hashlib.sha256((found + rest_of(slow)).partition(b"\r\n\r\n")[2]).hexdigest()
        assert digest == big.name


def test_a_reader_that_leaves_leaves_nothing(bed: ServiceBed, big: Path) -> None:
    with served(bed) as wire:
        for _ in range(3):
            with ExitStack() as held:
                begin(wire, held, STREAMS)
            until(lambda: opened(big) == 0)


def test_a_file_that_becomes_shorter_is_an_answer_that_is_cut(bed: ServiceBed, big: Path) -> None:
    with served(bed) as wire, wire.connect(kept=4096) as reader:
        reader.sendall(download())
        found = reader.recv(1000)
        big.chmod(0o600)
        os.truncate(big, 1 << 20)
        assert len(found + rest_of(reader)) < BIG


def test_a_download_by_range_over_the_wire_is_what_it_is_without_one(bed: ServiceBed, big: Path) -> None:
    content = big.read_bytes()
    with served(bed) as wire, wire.connect() as one:
        for first, last in ((0, 0), (5, 4 << 20), (BIG - 3, BIG - 1), (1, BIG - 2)):
            path = f"/images/download/{FILE}"
            one.sendall(request("GET", path, f"Range: bytes={first}-{last}", who="ada", close=False))
            said = bytearray()
            while len(said.partition(b"\r\n\r\n")[2]) < last - first + 1:
                said += one.recv(1 << 20)
            assert said.partition(b"\r\n\r\n")[2] == content[first : last + 1]
        one.sendall(request("HEAD", f"/images/download/{FILE}", who="ada", close=False))
        assert f"content-length: {BIG}".encode() in one.recv(2000)


def test_a_download_by_tls_is_what_it_is_without(bed: ServiceBed, big: Path, tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    trusted = ssl.create_default_context(cafile=chain)
    with served(bed, Patience(reader=0.5), tls=(chain, key)) as wire, ExitStack() as held:

        def secured(kept: int) -> ssl.SSLSocket:
            return held.enter_context(trusted.wrap_socket(wire.connect(kept=kept), server_hostname="127.0.0.1"))

        one, idle = secured(0), secured(4096)
        for each in (idle, one):
            each.sendall(download())
        found = rest_of(one)
        assert hashlib.sha256(found.partition(b"\r\n\r\n")[2]).hexdigest() == big.name
        assert b"strict-transport-security: " in found.partition(b"\r\n\r\n")[0]
        until(lambda: opened(big) == 0)
        with suppress(ssl.SSLError):
            assert len(rest_of(idle)) < BIG, "who takes nothing is sent away"


def test_an_account_follows_some_logs_at_a_time(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    assert bed.request("bob", "cc-one") == build
    path = f"/build/{build}/log?follow=true"
    with served(bed) as wire:
        with ExitStack() as held:
            for _ in range(STREAMS):
                follower = held.enter_context(wire.connect())
                follower.sendall(request("GET", path, who="ada"))
                assert follower.recv(12) == b"HTTP/1.1 200"
            assert status(wire.say(request("GET", path, who="ada"))) == 429
            assert status(wire.say(request("GET", f"/build/{build}", who="ada"))) == 200
            bob = held.enter_context(wire.connect())
            bob.sendall(request("GET", path, who="bob"))
            assert bob.recv(12) == b"HTTP/1.1 200"

        def follows() -> bool:
            with wire.connect() as again:
                again.sendall(request("GET", path, who="ada"))
                return again.recv(12) == b"HTTP/1.1 200"

        until(follows)
        bed.ask("ada", "DELETE", f"/build/{build}")


def test_live_parts_of_pages_are_streams_too(bed: ServiceBed) -> None:
    build = bed.request("ada", "cc-one")
    ada = next(each for each in bed.gatekeeper.accounts.everyone() if each.name == "ada")
    cookie = f"Cookie: {COOKIE}={bed.gatekeeper.sessions.open(ada)}"
    with served(bed) as wire, ExitStack() as held:
        for number in range(STREAMS):
            path = (f"/requests/{build}/live", "/requests/live", "/live")[number % 3]
            follower = held.enter_context(wire.connect())
            follower.sendall(request("GET", path, cookie))
            assert follower.recv(12) == b"HTTP/1.1 200", path
        assert status(wire.say(request("GET", "/requests/live", cookie))) == 429
        assert status(wire.say(request("GET", "/requests", cookie))) == 200
        bed.ask("ada", "DELETE", f"/build/{build}")


def test_a_huge_head_is_refused_or_nobodys(bed: ServiceBed) -> None:
    heads = {
        "cookie": ["Cookie: cc_images_session=" + "x" * 60_000],
        "cookies": ["Cookie: " + "; ".join(f"cc_images_session={number}" for number in range(3000))],
        "token": ["Authorization: Bearer " + "x" * 60_000],
        "endless": ["Cookie: " + "x" * 1_000_000],
    }
    with served(bed) as wire:
        for name, headers in heads.items():
            with wire.connect() as one:
                try:
                    one.sendall(request("GET", "/account", *headers))
                except OSError:
                    continue  # it was closed before all was sent
                assert status(rest_of(one)) in (0, 400, 401), name
        assert status(wire.say(request("GET", "/health"))) == 200
