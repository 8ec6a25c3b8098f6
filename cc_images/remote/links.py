"""Connections of a builder host to its hub, by its ticket: over TLS, a socket of the file system, or loopback.

Owns how calls are made and repeated, and their failures as errors of ours. The token is in one header, and in no
message.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

from cc_images.errors import CCImagesError, Interrupted, Reason, UserError
from cc_images.model.attempt import Ticket
from cc_images.model.plain_text import printable
from cc_images.remote.protocol import UNIX, Fenced, is_loopback

T = TypeVar("T")

_log = logging.getLogger(__name__)

ANSWER = 30.0
"""Seconds without a byte after which a link counts as broken."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries."""

LARGEST_ANSWER = 256 << 20
"""Bytes above which an answer is none."""

AGAIN = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE}
    | {HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.INTERNAL_SERVER_ERROR}
)
"""Refusals that may pass by themselves."""

BROKEN = (OSError, http.client.HTTPException)
"""What a link throws that breaks."""


class Later(Exception):
    """The hub cannot answer now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A short answer: its status, headers by their names in lower case, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def offset(self, name: str) -> int:
        """Return the byte that a header names. Raises Later when it names none."""
        said = self.headers.get(name.lower(), "")
        if not (said.isascii() and said.isdigit() and len(said) <= 18):
            raise Later(f"the hub names no {name}")
        return int(said)


@dataclass(slots=True)
class Progress:
    """How far a call has come over all its tries, in bytes: as long as it comes further, it is worth another one."""

    furthest: int = 0
    _seen: int = 0

    def is_new(self) -> bool:
        """Say whether it has come further since this was asked last."""
        before, self._seen = self._seen, self.furthest
        return self.furthest > before

    def note(self, at: int) -> None:
        """Note that byte `at` was reached; the same bytes once more are no progress."""
        self.furthest = max(self.furthest, at)


class Links:
    """Connections to the hub of a ticket, one a thread. A call is tried again for `patience` seconds without a byte."""

    def __init__(
        self, ticket: Ticket, *, patience: float, stop: threading.Event | None = None,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:  # fmt: skip
        self.attempt = ticket.attempt
        self._ticket = ticket
        self._patience = patience
        self._longest = longest_pause
        self._stop = stop or threading.Event()
        self._context = _context(ticket)
        self._open = threading.local()

    def call(self, method: str, path: str, body: bytes = b"", *, good: frozenset[int] = frozenset()) -> Answer:
        """Make a short call until it is answered. Raises CCImagesError for a refusal that is not in `good`."""
        return self.patiently(lambda link: self.judged(self.once(link, method, path, body), good))

    def once(self, link: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> Answer:
        """Make a short call once."""
        headers = self.headers() | ({"Content-Length": str(len(body))} if method in ("PUT", "POST") else {})
        link.request(method, path, body=body or None, headers=headers)
        return read(link.getresponse())

    def headers(self) -> dict[str, str]:
        """Return the headers of every call."""
        return {"Authorization": f"Bearer {self._ticket.attempt}.{self._ticket.token}"}

    def judged(self, answer: Answer, good: frozenset[int] = frozenset()) -> Answer:
        """Return a good answer. Raises Fenced, Later, or CCImagesError with the hub's reason."""
        if answer.status in good or 200 <= answer.status < 300:
            return answer
        why = _why(answer)
        if answer.status == HTTPStatus.GONE:
            raise Fenced(why)
        if answer.status in AGAIN:
            raise Later(why)
        if answer.status == HTTPStatus.INSUFFICIENT_STORAGE:
            raise CCImagesError(
                f"the head has no room: {why}",
                hint="run `cc-images prune` at the head, then start again",
                reason=Reason.DISK_FULL,
            )
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise CCImagesError(
                "the hub does not know this attempt, or not by this token",
                hint="it was removed at the head, or the ticket is another hub's",
                reason=Reason.HUB,
            )
        raise CCImagesError(f"the hub refuses: {why} ({answer.status})", reason=Reason.HUB)

    def patiently(self, work: Callable[[http.client.HTTPConnection], T], progress: Progress | None = None) -> T:
        """Do some work over the link, and again when the link breaks. Raises what `work` raises, and CCImagesError."""
        first = min(FIRST_PAUSE, self._longest)
        began, pause = time.monotonic(), first
        while True:
            if self._stop.is_set():
                raise Interrupted
            reused = getattr(self._open, "link", None) is not None
            try:
                return work(self._link())
            except ssl.SSLCertVerificationError as error:
                self.drop()
                raise CCImagesError(
                    f"the hub {self._ticket.address} is not the one of the ticket: {error.verify_message}",
                    hint="something else answers there, or its certificate is for another name",
                    reason=Reason.HUB,
                ) from None
            except (Later, *BROKEN) as error:
                self.drop()
                moved = progress is not None and progress.is_new()
                if reused and not moved and not isinstance(error, Later):
                    continue  # the hub has closed an idle link, most likely
                if moved:
                    began, pause = time.monotonic(), first
                left = self._patience - (time.monotonic() - began)
                if left <= 0:
                    raise self._unreachable(error) from None
                _log.info("the link to the hub broke (%s); trying again", _said(error))
                self._stop.wait(min(pause * random.uniform(0.5, 1.0), left))
                pause = min(pause * 2, self._longest)

    def drop(self) -> None:
        """Close this thread's connection; the next call opens another."""
        link = getattr(self._open, "link", None)
        self._open.link = None
        if link is not None:
            with suppress(OSError):
                link.close()

    def _link(self) -> http.client.HTTPConnection:
        link = getattr(self._open, "link", None)
        if link is None:
            link = self._open.link = _connection(self._ticket.address, self._context)
        return link

    def _unreachable(self, error: Exception) -> CCImagesError:
        return CCImagesError(
            f"the hub {self._ticket.address} does not answer: {_said(error)}",
            hint="look whether the head is up, and the network or tunnel between",
            reason=Reason.HUB,
            temporary=True,
        )


def read(response: http.client.HTTPResponse, most: int = LARGEST_ANSWER) -> Answer:
    """Return a short answer, read whole. Raises HTTPException for one that is cut, or too long."""
    body = response.read(most + 1)
    if len(body) > most or (response.length or 0) > 0:
        raise http.client.IncompleteRead(b"")
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(status=response.status, headers=headers, body=body)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER)
        self.sock.connect(self._path)


def _connection(address: str, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if address.startswith(UNIX):
        return _UnixConnection(address.removeprefix(UNIX))
    parts = urlsplit(address)
    host = parts.hostname or ""
    if context is not None:
        return http.client.HTTPSConnection(host, parts.port, timeout=ANSWER, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=ANSWER)


def _context(ticket: Ticket) -> ssl.SSLContext | None:
    """Return how to speak TLS with the hub of a ticket, if it does. Raises UserError for an address that is none."""
    parts = urlsplit(ticket.address)
    if ticket.address.startswith(UNIX) or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return None
    if parts.scheme != "https" or not parts.hostname or not ticket.ca:
        raise UserError(
            f"the ticket's hub {ticket.address} cannot be trusted",
            hint="https with a certificate, unix:/PATH, or http on loopback through a tunnel",
        )
    try:
        made = ssl.create_default_context(cadata=ticket.ca)
    except (ssl.SSLError, ValueError) as error:
        raise UserError("the ticket's certificate is none", hint="it is one certificate as PEM") from error
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    return made


def _why(answer: Answer) -> str:
    with suppress(ValueError, RecursionError):
        said = json.loads(answer.body[:4096] or b"{}")
        if isinstance(said, dict) and isinstance(said.get("error"), str):
            return printable(said["error"])[:300]
    return str(http.client.responses.get(answer.status, answer.status))


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or (error if isinstance(error, Later) else type(error).__name__))
