"""The guard: around every request limits of its body, headers for safety, figures, and a line in the log.

An ASGI middleware of its own, so that answers are streamed as they come.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)

MOST_BODY = 256 << 10
"""Bytes of a request's body."""

BODY_SECONDS = 30.0
"""Seconds in which a request's body must come."""

MOST_SHOWN = 500
"""Characters of a path in the log."""

TOO_LARGE = f"a request has at most {MOST_BODY} bytes"

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of answers that do not set them."""

PAGES = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",
}
"""Those of pages instead: everything that they load is the service's own, and nothing stands in them."""

SECURE = {"strict-transport-security": "max-age=31536000"}
"""That of answers to clients that come by TLS."""

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")

ELSEWHERE = (b"cross-site", b"same-site")
"""What browsers say in Sec-Fetch-Site of a request that another site's page has made."""


Headers = list[tuple[bytes, bytes]]


class Guard:
    """Guards an application. `figures`: requests and their seconds, by method, route and status."""

    def __init__(
        self,
        app: ASGIApp,
        figures: dict[tuple[str, str, int], tuple[int, float]],
        *,
        secure: bool = False,
        seconds: float = BODY_SECONDS,
    ) -> None:
        self._app = app
        self._seconds = seconds
        self._figures = figures
        self._secure = secure
        self._headers = {tls: _encoded(HEADERS | (SECURE if tls else {})) for tls in (False, True)}
        self._of_pages = {tls: _encoded(HEADERS | PAGES | (SECURE if tls else {})) for tls in (False, True)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry out a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        tls = self._secure or scope.get("scheme") == "https"  # also when a proxy of this host says so
        exchange = Exchange(receive, send, self._headers[tls], self._of_pages[tls], self._seconds)
        scope["client"] = _client(scope)
        try:
            lengths = [value for name, value in scope["headers"] if name == b"content-length"]
            if lengths and any(name == b"transfer-encoding" for name, _ in scope["headers"]):
                await exchange.refuse(400, "a request has one length")  # a proxy may have counted by the other one
            elif any(_number(each) > MOST_BODY for each in lengths):
                await exchange.refuse(413, TOO_LARGE)
            elif scope["method"] in UNSAFE and _header(scope, b"sec-fetch-site") in ELSEWHERE:
                await exchange.refuse(403, "a page of another site may not do that")
            else:
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._note(scope, exchange.status, time.monotonic() - exchange.began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route: Any = scope.get("route")
        path = getattr(route, "path", "") or "other"
        key = (scope["method"] if scope["method"] in METHODS else "other", path, status)
        count, spent = self._figures.get(key, (0, 0.0))
        self._figures[key] = (count + 1, spent + seconds)
        said = {"method": scope["method"][:MOST_SHOWN], "path": scope["path"][:MOST_SHOWN], "status": status,
                "seconds": round(seconds, 3), "client": scope["client"][0]}  # fmt: skip
        _log.info("request", extra={"said": said})


class Exchange:
    """One request and its answer: counts the bytes of the one, and adds headers to the other."""

    def __init__(
        self, receive: Receive, send: Send, headers: Headers, of_pages: Headers, seconds: float = BODY_SECONDS
    ) -> None:
        self._seconds = seconds
        self.began = time.monotonic()
        self.status = 0
        """The status of the answer; 0: it has not begun."""
        self._receive = receive
        self._send = send
        self._headers = headers
        self._of_pages = of_pages
        self._taken = 0
        self._whole = False

    async def receive(self) -> Message:
        """Return the next part of the request. Raises HTTPException for a body that is too large or too slow."""
        if self._whole:  # next is the end of the connection, for which there is time
            return await self._receive()
        left = self.began + self._seconds - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.1, left))
        except TimeoutError:
            raise HTTPException(408, "the request did not come in time", {"connection": "close"}) from None
        self._taken += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._taken > MOST_BODY:
            raise HTTPException(413, TOO_LARGE, {"connection": "close"})
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            known = {name.lower() for name, _ in message["headers"]}
            is_page = any(name.lower() == b"content-type" and value.startswith(b"text/html")
                          for name, value in message["headers"])  # fmt: skip
            headers = self._of_pages if is_page else self._headers
            extra = [(name, value) for name, value in headers if name not in known]
            message = {**message, "headers": [*message["headers"], *extra]}
        await self._send(message)

    async def refuse(self, status: int, words: str) -> None:
        """Answer with an error, and close the connection: the body is not read."""
        body = json.dumps({"message": words, "field": ""}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
                   (b"connection", b"close")]  # fmt: skip
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _encoded(headers: Mapping[str, str]) -> Headers:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _number(said: bytes) -> int:
    return int(said) if said.isdigit() and len(said) < 19 else MOST_BODY + 1


def _client(scope: Scope) -> tuple[str, int]:
    """Return where a request comes from: `unknown` when a proxy has said what is no address."""
    host, port = scope.get("client") or ("", 0)
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        return "unknown", 0
