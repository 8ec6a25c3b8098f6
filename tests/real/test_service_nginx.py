"""The service behind nginx, by the example of contrib: pages, programs, live logs, large files, and who a client is."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from cc_images.model.catalog import Format
from cc_images.store.records import Store
from cc_images.web.sessions import COOKIE
from tests.conftest import DEEP, REPOSITORY
from tests.real.conftest import Project
from tests.real.test_service import wait_until_no_run_lives
from tests.support.certificates import certificate
from tests.support.servicebed import kept
from tests.support.serviceprocess import PASSWORDS, Service, services

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
EXAMPLE = REPOSITORY / "contrib" / "service" / "nginx.conf"
NAME = "images.example.org"
"""The name that the example is for."""

HUGE = (5 if DEEP else 3) << 30
"""Bytes of a file: more than nginx would store on the way by itself."""

VERSION = "20261122T030000Z"
HTML = {"accept": "text/html"}

pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx")

AROUND = """\
daemon off;
user root;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/example.conf;
}}
"""


def example(folder: Path, port: int, service: int, pair: tuple[Path, Path]) -> str:
    """Return the example of contrib for ports and a certificate of a test; nothing else of it is changed."""
    text = EXAMPLE.read_text()
    for said, here in {
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        "listen [::]:443 ": f"listen [::1]:{port} ",
        "127.0.0.1:8080": f"127.0.0.1:{service}",
        f"/etc/ssl/{NAME}.pem": str(pair[0]),
        f"/etc/ssl/private/{NAME}.key": str(pair[1]),
    }.items():
        assert said in text
        text = text.replace(said, here)
    return text


@dataclass
class Front:
    """A service with nginx before it; clients may come from other addresses of loopback."""

    service: Service
    folder: Path
    port: int
    pair: tuple[Path, Path]
    _nginx: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        (self.folder / "example.conf").write_text(
            example(self.folder, self.port, int(self.service.address.rpartition(":")[2]), self.pair)
        )
        (self.folder / "nginx.conf").write_text(AROUND.format(folder=self.folder))
        words = [NGINX or "", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        checked = subprocess.run([*words, "-t"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        self._nginx = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def stop(self) -> None:
        self._nginx.terminate()
        assert self._nginx.wait(30) == 0

    def client(self, who: str = "", source: str = "127.0.0.1", **headers: str) -> httpx.Client:
        """Return a client that trusts the certificate; it calls the service by its name."""
        trust = ssl.create_default_context(cafile=str(self.pair[0]))
        transport = httpx.HTTPTransport(verify=trust, local_address=source)
        known = {"host": NAME} | headers
        auth = (who, PASSWORDS[who]) if who else None
        return httpx.Client(
            transport=transport, base_url=f"https://127.0.0.1:{self.port}", auth=auth, headers=known, timeout=60
        )

    def audit(self, action: str) -> list[dict[str, str]]:
        """Return rows of the audit log, the newest first."""
        rows: list[dict[str, str]] = self.client("root").get("/audit", params={"action": action}).json()
        return rows


@pytest.fixture
def front(project: Project) -> Iterator[Front]:
    project.environment["DIB_TINY_LINGER"] = "600"
    with services(project) as start:
        folder = project.folder / "nginx"
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        made = Front(start(), folder, port, certificate(folder, NAME, f"DNS:{NAME},IP:127.0.0.1"))
        made.start()
        yield made
        made.stop()
        wait_until_no_run_lives(project)
        made.service.end()
        said = (folder / "error.log").read_text()
        assert not re.search(r"\[(crit|alert|emerg)\]", said), said
        assert not [*folder.glob("proxy/**/*.*")], "nothing is stored on the way"


def log_in(client: httpx.Client, who: str) -> httpx.Response:
    page = client.get("/login", headers=HTML)
    assert page.status_code == 200
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
    assert csrf is not None
    said = {"csrf": csrf[1], "name": who, "password": PASSWORDS[who]}
    return client.post("/login", data=said, headers={"origin": f"https://{NAME}", "sec-fetch-site": "same-origin"})


def test_people_and_programs_come_through_nginx(front: Front) -> None:
    with front.client() as browser:
        away = browser.get("/", headers=HTML)
        assert (away.status_code, away.headers["location"]) == (303, "/login")
        answer = log_in(browser, "ada")
        assert answer.status_code == 303, answer.text
        cookies = [each for each in answer.headers.get_list("set-cookie") if each.startswith(COOKIE)]
        assert all({"Secure", "HttpOnly", "SameSite=lax"} <= set(each.split("; ")) for each in cookies)
        page = browser.get("/", headers=HTML)
        assert (page.status_code, "ada" in page.text) == (200, True)
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert browser.get("/static/live.js").status_code == 200
        csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', browser.get("/me", headers=HTML).text)
        assert csrf is not None
        other = {"csrf": csrf[1], "label": "x", "scopes": "read", "days": "2"}
        strange = browser.post("/tokens", json={"scopes": ["read"]}, headers={"origin": "https://evil.example"})
        assert strange.status_code == 403
        refused = browser.post("/me/tokens", data=other, headers={"sec-fetch-site": "cross-site"})
        assert refused.status_code == 403
    with front.client("ada") as program:
        assert program.get("/account").json()["name"] == "ada"
        token = program.post("/tokens", json={"scopes": ["read"]}).json()["token"]
    with front.client(authorization=f"Bearer {token}") as bearer:
        assert bearer.get("/account").json()["name"] == "ada"
        assert bearer.get("/images").json() == []
    with front.client() as nobody:
        assert nobody.get("/builds").status_code == 401
        assert nobody.get("/health").json() == {"database": "ok", "queue": "ok", "state": "ok"}
    said = subprocess.run(
        ["curl", "--silent", "--http2", "--write-out", " %{http_version}", "--cacert", front.pair[0], "--resolve",
         f"{NAME}:{front.port}:127.0.0.1", "-H", f"authorization: Bearer {token}", f"https://{NAME}:{front.port}/builds"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said == "[] 2"
    with socket.create_connection(("127.0.0.1", front.port)) as plain:
        plain.sendall(f"GET /health HTTP/1.1\r\nhost: {NAME}\r\n\r\n".encode())
        assert plain.recv(100).startswith(b"HTTP/1.1 400"), "there is no way without TLS"


def test_a_client_is_who_it_is_and_not_who_it_says(front: Front) -> None:
    liar = {"x-forwarded-for": "192.0.2.66", "forwarded": "for=192.0.2.66", "x-real-ip": "192.0.2.66"}
    with front.client(source="127.0.0.7", **liar) as guesser:
        for number in range(40):  # names that differ: what is counted is the address
            answer = guesser.get("/builds", auth=(f"guest{number}", "a wrong password"))
            if answer.status_code == 429:
                break
            assert answer.status_code == 401
        assert (answer.status_code, number >= 20) == (429, True)
        assert int(answer.headers["retry-after"]) >= 1
        assert guesser.get("/builds", auth=("ada", PASSWORDS["ada"])).status_code == 429
    with front.client("ada", source="127.0.0.8") as other:
        assert other.get("/builds").status_code == 200, "others are not counted with it"
    assert {row["address"] for row in front.audit("log-in-failed")} == {"127.0.0.7"}
    with front.client(source="127.0.0.9", **liar) as browser:
        assert log_in(browser, "bob").status_code == 303
    assert next(row["address"] for row in front.audit("log-in")) == "127.0.0.9"
    asked = [line for line in front.service.process.lines if '"client"' in line]
    assert any('"127.0.0.7"' in line for line in asked)
    assert not any("192.0.2.66" in line for line in asked)


def test_a_body_is_as_large_as_a_request_may_be(front: Front) -> None:
    with front.client("ada") as program:
        small = program.post(
            "/build/", content=b" " * (200 << 10) + b"{}", headers={"content-type": "application/json"}
        )
        assert small.status_code == 400, "the service has looked at it"
        assert small.json()["message"]
        large = program.post("/build/", content=b" " * (300 << 10))
        assert large.status_code == 413

        def endless() -> Iterator[bytes]:
            for _ in range(40):
                yield b" " * (10 << 10)

        assert program.post("/build/", content=endless()).status_code == 413, "without a length, too"
        assert program.get("/account").status_code == 200


def test_a_log_comes_as_it_grows(front: Front) -> None:
    build = front.service.request("ada", "cc-tiny")
    assert front.service.wait("ada", build, "BUILDING") == "BUILDING"
    came: dict[str, float] = {}
    ended = threading.Event()

    def follow() -> None:
        headers = {"accept": "text/event-stream"}
        with front.client("ada") as client, client.stream("GET", f"/build/{build}/log", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("data: marker "):
                    came[line.removeprefix("data: ")] = time.monotonic()
                if line.startswith("event: end"):
                    ended.set()

    thread = threading.Thread(target=follow)
    thread.start()
    time.sleep(1)
    late: list[float] = []
    for number in range(8):
        marker = f"marker {number}"
        with (front.service.project.store / "service" / build / "log").open("a") as log:
            log.write(marker + "\n")
        wrote = time.monotonic()
        while marker not in came:
            assert time.monotonic() - wrote < 10, "it is held back"
            time.sleep(0.01)
        late.append(came[marker] - wrote)
    print(f"a line of a log came after {min(late) * 1000:.0f} to {max(late) * 1000:.0f} ms")
    assert sorted(late)[len(late) // 2] < 1
    with front.client("ada") as client:
        assert client.delete(f"/build/{build}").json()["done"] == "cancelled"
    thread.join(60)
    assert ended.is_set()


def peak(pid: int) -> int:
    """Return the largest resident size of a process in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def test_a_large_file_comes_whole_and_by_ranges(front: Front, tmp_path: Path) -> None:
    store = Store(front.service.project.store)
    with (store.root / "staged").open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(HUGE)
        file.seek(HUGE - (1 << 20))
        file.write(os.urandom(1 << 20))
    output = kept(store, {Format.QCOW2: store.root / "staged"}, VERSION, "cc-tiny", "CC-Tiny")[Format.QCOW2]
    (row,) = front.client("root").get("/images").json()
    path, content = f"/images/download/{row['file']}", store.blobs.path(output.digest)
    with front.client("root") as client, content.open("rb") as file:
        for first in (0, (1 << 31) - 5, HUGE - 70_000):
            answer = client.get(path, headers={"range": f"bytes={first}-{first + 65_535}"})
            file.seek(first)
            assert (answer.status_code, answer.content == file.read(65_536)) == (206, True)
            assert answer.headers["content-range"] == f"bytes {first}-{first + 65_535}/{HUGE}"
        tail = client.get(path, headers={"range": "bytes=-1000", "if-range": f'"{output.digest}"'})
        file.seek(HUGE - 1000)
        assert (tail.status_code, tail.content) == (206, file.read())
    before = peak(front.service.process.process.pid)
    began, size, digest = time.monotonic(), 0, hashlib.sha256()
    place = f"{NAME}:{front.port}"
    words = ["curl", "--silent", "--fail", "--cacert", str(front.pair[0]), "--resolve", f"{place}:127.0.0.1",
             "--config", "-", f"https://{place}{path}"]  # fmt: skip
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as curl:
        assert curl.stdin is not None
        assert curl.stdout is not None
        curl.stdin.write(f'user = "root:{PASSWORDS["root"]}"\n'.encode())
        curl.stdin.close()
        while chunk := curl.stdout.read(1 << 20):
            size += len(chunk)
            digest.update(chunk)
    seconds = time.monotonic() - began
    assert (curl.returncode, size, digest.hexdigest()) == (0, HUGE, output.digest)
    grown = peak(front.service.process.process.pid) - before
    rate = HUGE / seconds / (1 << 20)
    print(f"{HUGE >> 30} GiB through nginx with TLS: {rate:.0f} MiB/s; the service grew by {grown >> 20} MiB")
    assert grown < 64 << 20
