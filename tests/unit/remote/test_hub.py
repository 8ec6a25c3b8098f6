"""The hub refuses what is not an attempt's own, and survives what builder hosts and strangers send."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cc_images.errors import UserError
from cc_images.remote.hub import Hub
from cc_images.remote.protocol import Limits
from cc_images.store.records import Store
from tests.conftest import Cli
from tests.support import hubs
from tests.support.certificates import certificate
from tests.support.hubs import asked, request, status_of

OWN = f"/v1/attempts/a{1:032x}"


@pytest.fixture
def address(store: Store) -> Iterator[str]:
    """Return a hub without TLS and with small limits."""
    limits = Limits(connections=12, of_attempt=4, header_seconds=1.0, idle_seconds=2.0, block_seconds=1.0,
                    stream_bytes=1000, result_bytes=2000, output_bytes=5 << 20)  # fmt: skip
    with Hub(store, limits=limits).serving() as found:
        yield found


def status(address: str, *args: object, **more: object) -> int:
    return status_of(asked(address, request(*args, **more)))  # type: ignore[arg-type]


def test_only_the_attempts_own_token_opens_it(store: Store, address: str) -> None:
    hubs.attempt(store), hubs.attempt(store, 2)
    assert status(address, "GET", OWN) == 200
    assert status(address, "GET", OWN, number=2) == 403
    assert status(address, "GET", OWN, number=3) == 401
    for bearer in ("Bearer x", f"Bearer a{1:032x}.{hubs.token(2)}", f"Bearer a{1:032x}.", "Basic eDp5", " ",
                   f"Bearer ../a{1:032x}.{hubs.token()}"):  # fmt: skip
        assert status(address, "GET", OWN, bearer=bearer) == 401
    for path in ("/stream?at=0", "/lease", "/secrets"):
        assert status(address, "POST", OWN + path, b"x", number=2) == 403
    assert status(address, "PUT", OWN + "/result", b"{}", number=2) == 403


def test_only_inputs_and_own_outputs_are_read(store: Store, address: str) -> None:
    mine, other = hubs.blob(store, b"an input"), hubs.blob(store, b"of somebody")
    files = hubs.attempt(store, inputs=(mine,))
    assert asked(address, request("GET", f"/v1/blobs/{mine}")).endswith(b"\r\n\r\nan input")
    assert status(address, "GET", f"/v1/blobs/{other}") == 404
    assert status(address, "HEAD", f"{OWN}/outputs/{other}") == 200, "nothing travels"
    assert status(address, "GET", f"/v1/blobs/{other}") == 404, "and nothing is given away"
    own = hubs.digest_of(b"mine")
    assert status(address, "PUT", f"{OWN}/outputs/{own}?at=0&size=4", b"mine") == 201
    assert status(address, "GET", f"/v1/blobs/{own}") == 200
    assert files.outputs.held() == {other, own}


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/blobs/../../etc/passwd", "/v1/blobs//etc/passwd", f"/v1/blobs/{'a' * 63}", f"/v1/blobs/{'A' * 64}",
     f"{OWN}/outputs/../token", f"{OWN}/outputs/..%2ftoken", f"{OWN}/token", f"{OWN}/secrets.json", f"{OWN}/",
     f"{OWN}/outputs/{'a' * 64}/../../claim.json", "http://elsewhere.example.org/v1", f"{OWN}/stream?at=-1",
     f"{OWN}/outputs/{'a' * 64}?at=1e3", f"{OWN}/outputs/{'a' * 64}?at={'9' * 30}"],
)  # fmt: skip
def test_a_path_that_is_none_leads_nowhere(store: Store, address: str, path: str) -> None:
    hubs.attempt(store)
    before = sorted(str(each) for each in store.root.rglob("*"))
    for method in ("GET", "PUT", "POST"):
        assert status(address, method, path, b"x") in (400, 404), method
    assert sorted(str(each) for each in store.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("wanted", "code", "content"),
    [("bytes=2-", 206, b"cdefgh"), ("bytes=2-3", 206, b"cd"), ("bytes=-3", 206, b"fgh"),
     ("bytes=0-99", 206, b"abcdefgh"),
     ("bytes=8-", 416, b""), ("bytes=5-2", 416, b""), ("bytes=0-1,3-4", 200, b"abcdefgh"),
     ("lines=1-", 200, b"abcdefgh"),
     ("bytes=-0", 416, b"")],
)  # fmt: skip
def test_ranges(store: Store, address: str, wanted: str, code: int, content: bytes) -> None:
    digest = hubs.blob(store, b"abcdefgh")
    hubs.attempt(store, inputs=(digest,))
    found = asked(address, request("GET", f"/v1/blobs/{digest}", headers={"Range": wanted}))
    assert status_of(found) == code
    assert code == 416 or found.endswith(b"\r\n\r\n" + content)
    head = asked(address, request("HEAD", f"/v1/blobs/{digest}", headers={"Range": wanted}))
    assert head.endswith(b"\r\n\r\n")
    assert status_of(head) == code


def test_an_output_with_another_digest_is_refused_and_removed(store: Store, address: str) -> None:
    files, lie = hubs.attempt(store), hubs.digest_of(b"what it says")
    path = f"{OWN}/outputs/{lie}"
    assert status(address, "PUT", f"{path}?at=0&size=12", b"another text") == 422
    assert status(address, "HEAD", path) == 404
    assert list(store.blobs.all()) == []
    assert list((files.folder / "partial").iterdir()) == []
    assert status(address, "PUT", f"{path}?at=0&size=12", b"what i") == 202
    assert b"Upload-Offset: 6" in asked(address, request("HEAD", path))
    assert status(address, "PUT", f"{path}?at=0&size=12", b"what it says") == 409
    assert status(address, "PUT", f"{path}?at=6&size=12", b"t SAYS") == 422, "also when it came in pieces"
    assert status(address, "PUT", f"{path}?at=0&size=12", b"what i") == 202
    assert status(address, "PUT", f"{path}?at=6&size=12", b"t says") == 201
    assert status(address, "PUT", f"{path}?at=0&size=12", b"what it says") == 201, "doubled"
    assert status(address, "PUT", f"{OWN}/outputs/{hubs.digest_of(b'')}?at=0&size=0") == 201


def test_a_full_blob_is_read_again_before_it_counts_when_it_came_in_pieces(store: Store, address: str) -> None:
    content = os.urandom(100_000)
    files, digest = hubs.attempt(store), hubs.digest_of(content)
    path = f"{OWN}/outputs/{digest}"
    assert status(address, "PUT", f"{path}?at=0&size=100000", content[:50_000]) == 202
    with (files.folder / "partial" / digest).open("r+b") as file:
        file.write(b"a power failure")
    assert status(address, "PUT", f"{path}?at=50000&size=100000", content[50_000:]) == 422


def test_limits(store: Store, address: str) -> None:
    files = hubs.attempt(store)
    digest = "d" * 64
    assert status(address, "PUT", f"{OWN}/outputs/{digest}?at=0&size={6 << 20}", b"x") == 413
    assert status(address, "PUT", f"{OWN}/outputs/{digest}?at=0&size=3", b"more than three") == 413
    assert status(address, "PUT", f"{OWN}/result", b"[" * 3000) == 413
    assert status(address, "PUT", f"{OWN}/result", b"[" * 1900) == 422
    assert status(address, "POST", f"{OWN}/lease", b"{}") == 422
    assert status(address, "POST", f"{OWN}/lease", b'{"nonce": "../x"}') == 422
    assert status(address, "POST", f"{OWN}/secrets", b"why") == 413
    assert status(address, "DELETE", OWN) == 501
    assert status(address, "POST", OWN) == 405
    assert status_of(asked(address, b"GET /" + b"x" * 70_000)) == 414
    assert status_of(asked(address, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n")) == 431
    assert status_of(asked(address, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")) == 400
    assert files.stream.stat().st_size == 0
    assert list((files.folder / "partial").iterdir()) == []


def test_an_endless_log_ends(store: Store, address: str) -> None:
    files = hubs.attempt(store)
    for at in range(0, 1000, 100):
        assert status(address, "POST", f"{OWN}/stream?at={at}", b"x" * 100) == 200
    assert status(address, "POST", f"{OWN}/stream?at=1000", b"x") == 413
    assert status(address, "POST", f"{OWN}/stream?at=1000", b"x" * (2 << 20)) == 413
    assert files.stream.stat().st_size == 1000


def test_a_doubled_or_early_message_changes_nothing(store: Store, address: str) -> None:
    files = hubs.attempt(store)
    assert status(address, "POST", f"{OWN}/stream?at=0", b"one\n") == 200
    assert asked(address, request("POST", f"{OWN}/stream?at=0", b"one\n")).endswith(b'{"at": 4}')
    early = asked(address, request("POST", f"{OWN}/stream?at=9", b"late"))
    assert (status_of(early), b"Stream-Offset: 4" in early) == (409, True)
    assert files.stream.read_bytes() == b"one\n"


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": "-1"}, {"Content-Length": "+3"}, {"Content-Length": "3, 3"}, {"Content-Length": "0x3"},
     {"Content-Length": "3\r\nContent-Length: 4"}, {"Content-Length": "", "Transfer-Encoding": "chunked"},
     {"Transfer-Encoding": "chunked"}, {"Content-Length": "9" * 40}],
)  # fmt: skip
def test_a_length_that_is_none_is_refused(store: Store, address: str, headers: dict[str, str]) -> None:
    files = hubs.attempt(store)
    assert status(address, "POST", f"{OWN}/stream?at=0", b"abc", headers=headers) == 411
    assert files.stream.stat().st_size == 0


def test_a_body_that_ends_early_is_no_message(store: Store, address: str) -> None:
    files = hubs.attempt(store)
    said = request("POST", f"{OWN}/stream?at=0", b"abc", headers={"Content-Length": "10"})
    assert asked(address, said, shut=True) == b""
    assert files.stream.stat().st_size == 0
    digest = hubs.digest_of(b"abcdef")
    said = request("PUT", f"{OWN}/outputs/{digest}?at=0&size=6", b"abc", headers={"Content-Length": "6"})
    assert asked(address, said, shut=True) == b""
    assert b"Upload-Offset: 3" in asked(address, request("HEAD", f"{OWN}/outputs/{digest}"))
    shorter = request("PUT", f"{OWN}/outputs/{digest}?at=3&size=6", b"def", headers={"Content-Length": "2"})
    assert status_of(asked(address, shorter)) == 202, "the rest is no request"
    assert status(address, "PUT", f"{OWN}/outputs/{digest}?at=5&size=6", b"f") == 201


def test_a_refused_body_does_not_have_to_be_sent(store: Store, address: str) -> None:
    hubs.attempt(store)
    headers = {"Expect": "100-continue", "Content-Length": str(4 << 20)}
    path = f"{OWN}/outputs/{'d' * 64}?at=9"
    began = time.monotonic()
    found = asked(address, request("PUT", path, headers=headers), shut=True)
    assert status_of(found) == 409
    assert b"100 Continue" not in found
    assert time.monotonic() - began < 3


def test_a_fenced_attempt_is_over_for_every_call(store: Store, address: str) -> None:
    read = hubs.blob(store, b"layer")
    files = hubs.attempt(store, inputs=(read,), trusted=True, secrets={"A": "canary"})
    assert status(address, "POST", f"{OWN}/lease", b'{"nonce": "first"}') == 200
    assert status(address, "POST", f"{OWN}/lease", b'{"nonce": "second"}') == 410
    assert status(address, "POST", f"{OWN}/lease", b'{"nonce": "first"}') == 200
    files.fence("the run was ended")
    calls = [("GET", OWN), ("GET", f"/v1/blobs/{read}"), ("HEAD", f"/v1/blobs/{read}"), ("POST", f"{OWN}/lease"),
             ("HEAD", f"{OWN}/outputs/{read}"), ("PUT", f"{OWN}/outputs/{read}"), ("POST", f"{OWN}/stream"),
             ("POST", f"{OWN}/secrets"), ("PUT", f"{OWN}/result")]  # fmt: skip
    for method, path in calls:
        assert status(address, method, path) == 410, path
    assert b"the run was ended" in asked(address, request("GET", OWN))
    assert (files.folder / "secrets.json").exists()


def test_secrets_go_once_to_trusted_builders(store: Store, address: str) -> None:
    hubs.attempt(store, trusted=True, secrets={"A": "canary"})
    hubs.attempt(store, 2, trusted=False, secrets={"A": "canary"})
    assert asked(address, request("POST", f"{OWN}/secrets")).endswith(b'{"A": "canary"}')
    assert status(address, "POST", f"{OWN}/secrets") == 404
    assert status(address, "POST", f"/v1/attempts/a{2:032x}/secrets", number=2) == 404


def result(number: int = 1, **more: object) -> bytes:
    return json.dumps({"format": 1, "attempt": f"a{number:032x}", "tasks": [], "blobs": {}} | more).encode()


def test_a_result_counts_once_and_with_its_blobs(store: Store, address: str) -> None:
    foreign = hubs.blob(store, b"of somebody")
    files = hubs.attempt(store)
    digest, path = hubs.digest_of(b"mine"), f"{OWN}/result"
    for blobs in ({digest: 4}, {foreign: 11}, {"../../etc/passwd": 4}, {digest: -1}, {digest: "4"}, [digest]):
        assert status(address, "PUT", path, result(blobs=blobs)) == 422
    assert status(address, "PUT", f"{OWN}/outputs/{digest}?at=0&size=4", b"mine") == 201
    assert status(address, "PUT", path, result(blobs={digest: 5})) == 422
    assert status(address, "PUT", path, result(2, blobs={digest: 4})) == 422, "another attempt's"
    assert status(address, "PUT", path, result(blobs={digest: 4}, format=2)) == 422
    odd: list[dict[str, object]] = [{"unfit": 5}, {"unfit": [1]}, {"lost": ["x"]}, {"made": []}]
    for said in odd:
        assert status(address, "PUT", path, json.dumps(json.loads(result()) | said).encode()) == 422, said
    assert files.result() is None
    assert status(address, "PUT", path, result(blobs={digest: 4})) == 201
    assert status(address, "PUT", path, result(blobs={digest: 4})) == 201, "a doubled message"
    assert status(address, "PUT", path, result()) == 409
    assert files.result() == json.loads(result(blobs={digest: 4}))


# -- time and number -------------------------------------------------------------------------------------------------


def closed_after(address: str, parts: list[bytes], pause: float) -> float:
    """Send parts with pauses and return after how many seconds the hub has closed the connection."""
    host, _, port = address.removeprefix("http://").partition(":")
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=15) as link:
        link.settimeout(pause)
        for part in parts:
            try:
                link.sendall(part)
                if link.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        return time.monotonic() - began


@pytest.mark.parametrize("kind", ["silent", "headers", "body"])
def test_slow_clients_are_cut_off(store: Store, address: str, kind: str) -> None:
    hubs.attempt(store)
    whole = {
        "silent": b"",
        "headers": request("GET", OWN),
        "body": request("PUT", f"{OWN}/outputs/{'d' * 64}?at=0&size=100000", headers={"Content-Length": "100000"}),
    }[kind]
    first, rest = (b"", whole) if kind != "body" else (whole, b"y" * 200)
    parts = [first, *(bytes([each]) for each in rest)] + ([b""] * 100 if kind == "silent" else [])
    assert 0.5 < closed_after(address, parts, 0.05) < 4.0


def test_a_client_that_reads_nothing_is_cut_off(store: Store, address: str) -> None:
    digest = hubs.blob(store, os.urandom(16 << 20))
    hubs.attempt(store, inputs=(digest,))
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect((host, int(port)))
        link.sendall(request("GET", f"/v1/blobs/{digest}"))
        time.sleep(3.0)
        link.settimeout(5.0)
        found = 0
        try:
            while part := link.recv(1 << 20):
                found += len(part)
        except OSError:
            pass
    assert found < 16 << 20


def test_strangers_that_hold_all_connections_make_room(store: Store, address: str) -> None:
    hubs.attempt(store)
    host, _, port = address.removeprefix("http://").partition(":")
    held = [socket.create_connection((host, int(port))) for _ in range(40)]
    try:
        assert hubs.until(lambda: status(address, "GET", OWN) == 200, 5.0)
    finally:
        for each in held:
            each.close()


def test_one_attempt_cannot_take_all_connections(store: Store, address: str) -> None:
    hubs.attempt(store), hubs.attempt(store, 2)
    host, _, port = address.removeprefix("http://").partition(":")
    held = [socket.create_connection((host, int(port))) for _ in range(6)]
    try:
        for each in held:
            each.sendall(request("GET", OWN).replace(b"Connection: close\r\n", b""))
        assert sorted(status_of(each.recv(4096)) for each in held)[-1] == 429
        assert status(address, "GET", f"/v1/attempts/a{2:032x}", number=2) == 200
    finally:
        for each in held:
            each.close()


def test_connections_are_taken_again_after_they_ended(store: Store, address: str) -> None:
    hubs.attempt(store)
    with ThreadPoolExecutor(3) as pool:
        assert {*pool.map(lambda _: status(address, "GET", OWN), range(100))} == {200}


# -- listening -------------------------------------------------------------------------------------------------------


def test_only_tls_leaves_this_host(store: Store, tmp_path: Path) -> None:
    for listen in ("0.0.0.0:0", "192.0.2.1:7443", "[::]:0", "head.example.org:7443"):
        with pytest.raises(UserError, match="is not loopback"):
            Hub(store, listen)
    for listen in (
        "",
        "127.0.0.1",
        "127.0.0.1:x",
        ":7443",
        "http://127.0.0.1:1",
        "user@127.0.0.1:1",
        "127.0.0.1:99999",
    ):
        with pytest.raises(UserError, match="is no address"):
            Hub(store, listen)
    with pytest.raises(UserError, match="cannot be used"):
        Hub(store, tls=(tmp_path / "none", tmp_path / "none"))
    (tmp_path / "none").write_text("x")
    with pytest.raises(UserError, match="cannot be used"):
        Hub(store, tls=(tmp_path / "none", tmp_path / "none"))
    with Hub(store, "0.0.0.0:0", certificate(tmp_path)).serving() as address:
        assert address.startswith("https://")


def test_a_path_is_listened_on_once_and_left_clean(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "hub"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Hub(store, f"unix:{path}").serving() as address:
        assert address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(UserError, match="cannot listen"), Hub(store, f"unix:{path}").serving():
            pass
    assert not path.exists()
    with pytest.raises(UserError, match="cannot listen"), Hub(store, f"unix:{tmp_path}/{'x' * 120}").serving():
        pass


def test_old_tls_and_plain_text_are_refused(store: Store, tmp_path: Path) -> None:
    hubs.attempt(store)
    with Hub(store, tls=certificate(tmp_path), limits=Limits(header_seconds=1.0)).serving() as address:
        host, _, port = address.removeprefix("https://").partition(":")
        assert status_of(asked(f"http://{host}:{port}", request("GET", OWN))) == 0
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection((host, int(port))) as link, pytest.raises(ssl.SSLError):
            old.wrap_socket(link)


def test_no_token_is_logged(store: Store, address: str, caplog: pytest.LogCaptureFixture) -> None:
    hubs.attempt(store)
    with caplog.at_level(logging.DEBUG):
        for path in (OWN, "/nowhere", f"{OWN}/outputs/{'d' * 64}"):
            asked(address, request("GET", path))
            asked(address, request("GET", path, bearer=f"Bearer {hubs.token(7)}"))
    assert caplog.records
    assert hubs.TOKEN not in caplog.text


# -- the command line ------------------------------------------------------------------------------------------------


def test_store_serve_serves_until_sigterm(store: Store, tmp_path: Path) -> None:
    hubs.attempt(store)
    process = hubs.HubProcess(store.root)
    address = process.start()
    assert address == f"http://{process.listen}"
    assert status(address, "GET", OWN) == 200
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as held:
        held.sendall(request("GET", OWN).replace(b"Connection: close\r\n", b""))
        assert status_of(held.recv(4096)) == 200
        began = time.monotonic()
        assert process.end() == 0
    assert time.monotonic() - began < 4


def test_store_serve_says_what_is_wrong(cli: Cli) -> None:
    for words, said in (
        (["--listen", "0.0.0.0:0"], "is not loopback"),
        (["--listen", "127.0.0.1:0", "--tls-cert", "c.pem"], "belong together"),
        (["--listen", "127.0.0.1:0", "--tls-cert", "c.pem", "--tls-key", "c.key"], "there is no such file"),
        ([], "--listen"),
    ):
        found = cli("store", "serve", *words)
        assert found.returncode == 2
        assert said in found.stderr
        assert "Traceback" not in found.stderr
