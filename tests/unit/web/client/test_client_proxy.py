"""The client behind an HTTP proxy: a tunnel to the service, and nothing of its credentials for the proxy."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError, UserError
from cc_images.web.client.address import address_of
from cc_images.web.client.connection import Cut
from cc_images.web.client.decisions import Patience
from cc_images.web.client.proxies import proxy_for
from tests.conftest import REPOSITORY, clean_environment
from tests.support.certificates import certificate
from tests.support.proxy import Tunnels
from tests.support.servedbed import Served, linked
from tests.support.servicebed import ServiceBed

RUN = "20261122T030000Z"
FILE = f"CC-One-{RUN}.qcow2"
CONTENT = bytes(range(256)) * 20_000
HOST = "images.example.test"
"""A name that no resolver knows: only the proxy gets there."""

SHORT = Patience(seconds=0.02, shortest=0.01, longest=0.01)

VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@dataclass
class Behind:
    """A service with TLS that is reached by a proxy alone, and a client's environment."""

    served: Served
    proxy: Tunnels
    pem: Path
    token: Path
    folder: Path

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the client as a process."""
        environment = {name: value for name, value in clean_environment(self.folder).items()
                       if name.lower() not in VARIABLES}  # fmt: skip
        environment |= {"PYTHONPATH": str(REPOSITORY)} | variables
        whole = ["--server", f"https://{HOST}", "--token-file", str(self.token), "--ca-file", str(self.pem), *words]
        return subprocess.run([sys.executable, "-m", "cc_images", *whole], cwd=self.folder, env=environment,
                              capture_output=True, text=True, timeout=60)  # fmt: skip

    @property
    def secret(self) -> str:
        return self.token.read_text().strip()

    def seen(self) -> str:
        """Return all that the proxy has seen of clients."""
        return "".join(self.proxy.heads) + b"".join(self.proxy.passed).decode("latin-1")


@pytest.fixture
def behind(bed: ServiceBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Behind]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    pair = certificate(tmp_path, "service", f"DNS:{HOST}")
    served = Served(bed, tls=pair)
    served.start()
    with Tunnels(served.port) as proxy:
        yield Behind(served, proxy, pair[0], served.token_file(tmp_path), tmp_path)
    served.stop()


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_a_service_is_reached_through_a_proxy(behind: Behind, name: str) -> None:
    build = behind.served.made_file(CONTENT, RUN)
    said = {name: f"http://{behind.proxy.place}"}
    shown = behind.run("status", build, "--json", **said)
    assert (shown.returncode, json.loads(shown.stdout)[0]["status"]) == (0, "FINISHED"), shown.stderr
    assert behind.run("log", "-f", build, **said).returncode == 0
    got = behind.run("download", build, "-o", ".", **said)
    assert got.returncode == 0, got.stderr
    assert hashlib.sha256((behind.folder / FILE).read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert len(behind.proxy.heads) >= 4
    assert all(each.startswith(f"CONNECT {HOST}:443 HTTP/1.") for each in behind.proxy.heads)


def test_the_proxy_gets_no_credential_of_the_service_and_the_service_none_of_the_proxy(behind: Behind) -> None:
    place = f"http://me:proxy%20word@{behind.proxy.place}"
    assert behind.run("status", HTTPS_PROXY=place).returncode == 0
    (head,) = behind.proxy.heads
    names = [line.partition(":")[0].lower() for line in head.splitlines()[1:] if line]
    assert set(names) <= {"proxy-authorization", "host", "user-agent"}
    assert f"proxy-authorization: Basic {base64.b64encode(b'me:proxy word').decode()}" in head
    assert behind.secret not in behind.seen()
    assert "Bearer" not in behind.seen()


def test_hosts_of_no_proxy_are_reached_without_one(behind: Behind, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (HOST, ".example.test", "example.test", f"other.test,{HOST}:443", "*"):
        for name in ("NO_PROXY", "no_proxy"):
            answer = proxy_of(f"https://{HOST}", {"HTTPS_PROXY": f"http://{behind.proxy.place}", name: value})
            assert answer is None, (name, value)
    for value in ("images.example", "other.test", f"{HOST}:8443"):
        assert proxy_of(f"https://{HOST}", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": value}) == "p:3128", value
    monkeypatch.setenv("HTTPS_PROXY", f"http://{behind.proxy.place}")
    monkeypatch.setenv("NO_PROXY", HOST)
    service, _ = linked(f"https://{HOST}", behind.token, behind.pem, SHORT)
    with pytest.raises(Cut, match="does not answer: "):  # there is no other way to it
        service.told("/builds")
    assert behind.proxy.heads == []


def proxy_of(url: str, environment: dict[str, str]) -> str | None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        found = proxy_for(address_of(url))
    return str(found) if found is not None else None


@pytest.mark.parametrize("url", ["https://127.0.0.1:8443", "https://localhost:8443", "https://[::1]:8443"])
def test_this_host_is_reached_without_a_proxy(url: str) -> None:
    assert proxy_of(url, {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": ""}) is None


@pytest.mark.parametrize("said", ["socks5://me:word@p:1080", "https://me:word@p:443", "http://", "http://p:x"])
def test_a_proxy_of_another_kind_is_refused_without_its_password(said: str) -> None:
    with pytest.raises(UserError, match="names no HTTP proxy") as raised:
        proxy_of(f"https://{HOST}", {"HTTPS_PROXY": said, "NO_PROXY": ""})
    assert "word" not in f"{raised.value}{raised.value.hint}"


@pytest.mark.parametrize(
    ("refuses", "words", "code"),
    [
        ("407 Proxy Authentication Required", "wants another name and password", 2),
        ("403 Forbidden", "refuses to connect there", 2),
    ],
)
def test_a_proxy_that_refuses_is_said_at_once(behind: Behind, refuses: str, words: str, code: int) -> None:
    behind.proxy.refuses = refuses
    answer = behind.run("status", HTTPS_PROXY=f"http://me:word@{behind.proxy.place}")
    assert (answer.returncode, answer.stdout) == (code, "")
    assert f"the proxy {behind.proxy.place} {words}" in answer.stderr
    assert "word@" not in answer.stderr
    assert len(behind.proxy.heads) == 1, "it is not asked again"


def test_a_proxy_that_is_another_service_is_seen_by_its_certificate(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Served(behind.served.bed, tls=certificate(behind.folder, "other", "DNS:other.example.test"))
    other.start()
    behind.proxy.port = other.port
    monkeypatch.setenv("HTTPS_PROXY", f"http://{behind.proxy.place}")
    service, _ = linked(f"https://{HOST}", behind.token, other.tls[0] if other.tls else None)
    with pytest.raises(CCImagesError, match="does not count"):
        service.told("/builds")
    other.stop()
    assert behind.secret not in behind.seen()


def test_a_proxy_that_is_not_there_is_named(behind: Behind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")
    service, _ = linked(f"https://{HOST}", behind.token, behind.pem, SHORT)
    with pytest.raises(Cut, match=r"does not answer through the proxy 127\.0\.0\.1:9: Connection refused"):
        service.told("/builds")
