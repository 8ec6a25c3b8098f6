"""The server as in production over the application of a service bed, and raw connections to it."""

from __future__ import annotations

import base64
import socket
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cc_images.web import server
from cc_images.web.connection import Patience
from cc_images.web.server import Listen
from tests.support.servicebed import PASSWORDS, ServiceBed


@dataclass(frozen=True)
class Wire:
    """A server that listens on loopback."""

    address: str

    @property
    def place(self) -> tuple[str, int]:
        found = urllib.parse.urlsplit(self.address)
        assert found.hostname is not None
        assert found.port is not None
        return found.hostname, found.port

    def connect(self, *, kept: int = 0, source: str = "") -> socket.socket:
        """Return a new connection; `kept`: bytes that its end keeps before somebody reads."""
        made = socket.socket()
        if source:
            made.bind((source, 0))
        if kept:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kept)
        made.settimeout(30)
        made.connect(self.place)
        return made

    def say(self, text: bytes, source: str = "") -> bytes:
        """Send bytes as they are; return all that comes until the server closes."""
        with self.connect(source=source) as connection:
            connection.sendall(text)
            return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    """Return all that comes until the other end closes; it must."""
    found = bytearray()
    with suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 20):
            found += chunk
    return bytes(found)


def basic(who: str) -> str:
    """Return the header with which an account logs in."""
    return "Authorization: Basic " + base64.b64encode(f"{who}:{PASSWORDS[who]}".encode()).decode()


def request(method: str, target: str, *headers: str, who: str = "", body: bytes = b"", close: bool = True) -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{method} {target} HTTP/1.1", "Host: service", *headers]
    lines += [basic(who)] if who else []
    lines += ["Connection: close"] if close else []
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def status(said: bytes) -> int:
    """Return the status of the first answer; 0: there is none."""
    return int(said.split()[1]) if said.startswith(b"HTTP/1.1 ") else 0


@contextmanager
def served(
    bed: ServiceBed, patience: Patience | None = None, app: Any = None, tls: tuple[Path, Path] | None = None
) -> Iterator[Wire]:
    """Serve the application of a bed, or another one over it."""
    listen = Listen(address="127.0.0.1:0", tls=tls)
    with server.serving(app or bed.app, listen, bed.service.draining, patience) as address:
        yield Wire(address)
