"""One connection of a hub: requests in, answers out, each within a time.

The server's watchdog cuts a connection whose deadline has passed; here the deadline moves on with every block.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from cc_images.remote.hub_calls import Refused, admitted, answer
from cc_images.remote.protocol import BLOCK, Limits
from cc_images.store.records import Store

_log = logging.getLogger(__name__)

LINGER, LINGER_SECONDS = 4 << 20, 2.0
"""Bytes and seconds of a refused body that are thrown away, so that the other side sees the answer."""

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")


class Connection:
    """An open connection, as the server's watchdog sees it."""

    def __init__(self, link: socket.socket, seconds: float) -> None:
        self.link = link
        self.attempt = ""
        """The attempt whose token it has shown; empty before that."""
        self.began = time.monotonic()
        self.deadline = self.began + seconds

    def within(self, seconds: float) -> None:
        """Let the next step take so long."""
        self.deadline = time.monotonic() + seconds

    def cut(self) -> None:
        """End the connection, whatever its thread waits for."""
        with suppress(OSError):
            # that of TLS would let its thread go on in clear text
            socket.socket.shutdown(self.link, socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """The requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "cc-images", ""
    rbufsize = 64 << 10

    def __init__(
        self, connection: Connection, store: Store, limits: Limits, admit: Callable[[Connection, str], bool]
    ) -> None:
        self._wire, self._store, self._limits, self._admit = connection, store, limits, admit
        self._left = 0
        self._expects = self._answered = False
        with suppress(OSError, ValueError):  # a link that breaks is the other side's business
            if connection.link.family != socket.AF_UNIX:
                connection.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if isinstance(connection.link, ssl.SSLSocket):
                connection.link.do_handshake()
            super().__init__(connection.link, ("", 0), None)  # type: ignore[arg-type]

    def handle_one_request(self) -> None:
        """Read a request and answer it."""
        self._left, self._expects, self._answered = 0, False, False
        super().handle_one_request()
        if self._left and not self.close_connection:
            self.close_connection = True
        if self._left and self._answered:
            self._linger()
        self._wire.within(self._limits.idle_seconds)

    def handle_expect_100(self) -> bool:
        """Ask for the body only when the call was admitted."""
        self._expects = True
        return True

    def do_GET(self) -> None:
        """Answer a request of any method."""
        self._wire.within(self._limits.block_seconds)
        try:
            self._left = self._length()
            files = admitted(self._store, self.header("Authorization"))
            if not self._admit(self._wire, files.attempt):
                raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many connections of this attempt")
            answer(self._store, self._limits, self.command, self.path, self, files)
        except Refused as refused:
            _log.info("%s of %s: %s %s", self.command, self._wire.attempt or "nobody", refused.status.value, refused)
            body = json.dumps({"error": str(refused)}).encode()
            if refused.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.GONE):
                self.close_connection = True
            self._say(refused.status, body, refused.headers)
        except OSError:
            self.close_connection = True
            raise

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

    def _length(self) -> int:
        said = self.headers.get_all("Content-Length") or ["0"]
        if (
            self.headers.get("Transfer-Encoding") is not None
            or len(said) != 1
            or not re.fullmatch("[0-9]{1,18}", said[0])
        ):
            self.close_connection = True
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a body needs one Content-Length")
        return int(said[0])

    # -- a call's wire ------------------------------------------------------------------------------------------

    def header(self, name: str) -> str:
        """Return a header of the request."""
        return str(self.headers.get(name, ""))

    @property
    def length(self) -> int:
        """Bytes of the body that are still to come."""
        return self._left

    def read(self, into: memoryview) -> int:
        """Read the body until this is full or no more comes; return how many bytes, at least one. Raises OSError."""
        if self._expects:
            self._expects = False
            self.interim()
        wanted = min(len(into), self._left)
        count = 0
        try:
            while count < wanted:
                if not (got := self.rfile.readinto1(into[count:wanted])):
                    raise ConnectionAbortedError("the body ended early")
                count += got
            self._wire.within(self._limits.block_seconds)
        except OSError:  # the next look at the link says the same
            if not count:
                self._left = 0
                raise
        self._left -= count
        return count

    def interim(self) -> None:
        """Tell the other side that its answer takes a while."""
        self._wire.within(self._limits.block_seconds)
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer(self, status: HTTPStatus, body: bytes = b"", **headers: object) -> None:
        """Answer with a short body."""
        self._say(status, body, {name.replace("_", "-"): str(value) for name, value in headers.items()})

    def send_file(self, path: Path) -> None:
        """Answer with a file, or the range of it that is wanted. Raises Refused, OSError."""
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            first, last = self._range(size)
            status = HTTPStatus.OK if (first, last) == (0, size) and not self._ranged() else HTTPStatus.PARTIAL_CONTENT
            headers = {"Accept-Ranges": "bytes", "Content-Length": str(last - first)}
            if status is HTTPStatus.PARTIAL_CONTENT:
                headers["Content-Range"] = f"bytes {first}-{last - 1}/{size}"
            self._head(status, headers)
            if self.command != "HEAD":
                self._send(file.fileno(), first, last)

    def _ranged(self) -> bool:
        return _RANGE.fullmatch(self.header("Range")) is not None

    def _range(self, size: int) -> tuple[int, int]:
        """Return the first byte that is wanted, and the one behind the last; all for what is no single range."""
        said = _RANGE.fullmatch(self.header("Range"))
        if not said:
            return 0, size
        if said[3] is not None:
            first, last = max(0, size - int(said[3])), size
        else:
            first, last = int(said[1]), min(size, int(said[2]) + 1 if said[2] else size)
        if first >= last:
            raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no such range", Content_Range=f"bytes */{size}")
        return first, last

    def _send(self, descriptor: int, first: int, last: int) -> None:
        if not isinstance(self._wire.link, ssl.SSLSocket):
            while first < last:
                self._wire.within(self._limits.block_seconds)
                if not (count := os.sendfile(self._wire.link.fileno(), descriptor, first, min(BLOCK, last - first))):
                    raise ConnectionAbortedError("the file ended early")
                first += count
            return
        block = memoryview(bytearray(min(BLOCK, last - first)))
        while first < last:
            self._wire.within(self._limits.block_seconds)
            if not (count := os.preadv(descriptor, [block[: min(len(block), last - first)]], first)):
                raise ConnectionAbortedError("the file ended early")
            self.wfile.write(block[:count])
            first += count

    def _say(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        if self._left:
            self.close_connection = True
        told = {"Content-Length": str(len(body))} | ({"Content-Type": "application/json"} if body else {})
        self._head(status, told | headers, b"" if self.command == "HEAD" else body)

    def _head(self, status: HTTPStatus, headers: dict[str, str], body: bytes = b"") -> None:
        self._wire.within(self._limits.block_seconds)
        lines = [f"{self.protocol_version} {status.value} {status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["Connection: close"] if self.close_connection else []
        self._answered = True
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body)

    def _linger(self) -> None:
        """Throw away what still comes of a refused body: closing at once would take the answer away, too."""
        self._wire.within(LINGER_SECONDS)
        left, block = min(self._left, LINGER), bytearray(BLOCK)
        while left > 0 and (count := self.rfile.readinto(memoryview(block)[: min(left, BLOCK)])):
            left -= count

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self._say(HTTPStatus(code), b"", {})

    def log_message(self, format: str, *words: object) -> None:
        """Log nothing: what a stranger sends is no text of ours."""
