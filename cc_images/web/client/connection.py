"""The connection to a service: a request and its answer at a time, by TLS that is verified.

Faults of the network are `Cut`; refusals of the service have its own words, without control characters.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.plain_text import all_printable, printable
from cc_images.web.client.address import Address
from cc_images.web.client.decisions import TEMPORARY
from cc_images.web.client.proxies import proxy_for

TIMEOUT = 45.0
"""Seconds without a byte after which a connection counts as cut; a service writes every 15 seconds."""

MOST = 32 << 20
"""Bytes of an answer that is no file and no log."""

NAMELESS = {404: "the service has no such thing, or it is somebody else's"}
"""Words for answers that have none: those to HEAD."""

ENDED = (OSError, HTTPException, ValueError)
"""Errors of a connection that gives no more of an answer; ValueError is one about parts of a negative length."""

_NUMBER = re.compile(r"\.[0-9]+\Z")
"""The place in a list of a field at fault."""

LINE = 1 << 20
"""Bytes of a line of events."""


class Cut(CCImagesError):
    """The service did not answer, or stopped amid its answer.

    `sent`: it may have got the request. `after`: seconds after which it wants to be asked again.
    """

    def __init__(self, message: str, *, sent: bool = True, after: float | None = None) -> None:
        super().__init__(message, reason=Reason.UNREACHABLE, temporary=True)
        self.sent = sent
        self.after = after


class Answer:
    """An answer whose content comes as it is read."""

    def __init__(self, response: HTTPResponse, address: Address) -> None:
        self._response = response
        self._address = address
        self.status = response.status

    def header(self, name: str) -> str:
        """Return a header; empty: there is none."""
        return str(self._response.headers.get(name) or "")

    @property
    def length(self) -> int | None:
        """The bytes that are said to come."""
        said = self.header("content-length")
        return int(said) if said.isascii() and said.isdecimal() and len(said) < 19 else None

    def read(self, most: int) -> bytes:
        """Return the next bytes, at most so many; none at the end. Raises Cut."""
        try:
            found = self._response.read(most)
        except ENDED as error:
            raise self._cut(error) from None
        if not found and self._response.length:
            raise Cut(f"the connection to {self._address} was cut")
        return found

    def lines(self) -> Iterator[bytes]:
        """Yield lines as they come. Raises Cut."""
        while True:
            try:
                line = self._response.readline(LINE)
            except ENDED as error:
                raise self._cut(error) from None
            if not line:
                return
            yield line

    def json(self, most: int = MOST) -> Any:
        """Return the content, which is JSON, without control characters. Raises CCImagesError."""
        content = b""
        while len(content) <= most and (chunk := self.read(1 << 20)):
            content += chunk
        try:
            return all_printable(json.loads(content) if len(content) <= most else None)
        except (ValueError, RecursionError):
            raise CCImagesError(
                f"{self._address} answers with something that is no JSON",
                hint="is it the address of a service of cc-images?", reason=Reason.UNREACHABLE,
            ) from None  # fmt: skip

    def _cut(self, error: Exception) -> Cut:
        return Cut(f"the connection to {self._address} was cut: {_words(error)}")

    def refusal(self) -> CCImagesError:
        """Return the error that this answer is."""
        status, field, message = self.status, "", ""
        try:
            said = self.json(1 << 16)
            field, message = (str(said.get(each) or "") for each in ("field", "message"))
        except (CCImagesError, AttributeError):  # a proxy has answered
            pass
        message = message or NAMELESS.get(status, f"it answers with HTTP status {status}")
        if status in TEMPORARY:
            wanted = self.header("retry-after")
            after = float(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 6 else None
            return Cut(f"{self._address}: {message}", sent=status not in (429, 503), after=after)
        if status == 401:
            hint = "the token is unknown, revoked or over: make another one; or the address is that of another service"
            return UserError(f"{self._address} refuses the token or password", hint=hint, reason=Reason.CREDENTIALS)
        if status == 403:
            return UserError(f"{self._address}: {message}", reason=Reason.FORBIDDEN)
        if 300 <= status < 400:
            to = printable(self.header("location"))[:200]
            hint = "give that address, if you trust it: no token is sent after a redirection"
            return UserError(f"{self._address} leads to {to or 'elsewhere'}", hint=hint)
        if 400 <= status < 500:
            field = _NUMBER.sub("", field)  # the message names what people have typed
            return UserError(f"{field}: {message}" if field else message)
        return CCImagesError(f"{self._address}: {message}")


class Link:
    """A way to a service: its address, how to log in, and which authorities count (None: those of the host)."""

    def __init__(
        self, address: Address, authorization: str, authorities: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.address = address
        self._authorization = authorization
        self._timeout = timeout
        self._context = _context(authorities) if address.secure else None
        self._proxy = proxy_for(address) if address.secure else None

    @contextmanager
    def open(
        self, method: str, path: str, *, content: object = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """Send a request and yield its answer, if that is no refusal. Raises Cut, and CCImagesError for refusals."""
        connection = self._connection()
        try:
            answer = self._asked(connection, method, f"{self.address.path}/api/v1{path}", content, headers or {})
            if not 200 <= answer.status < 300:
                raise answer.refusal()
            yield answer
        finally:
            connection.close()

    def _asked(
        self, connection: HTTPConnection, method: str, path: str, content: object, headers: Mapping[str, str]
    ) -> Answer:
        body = None if content is None else json.dumps(content).encode()
        said = {"authorization": self._authorization, "user-agent": "cc-images", "connection": "close", **headers}
        if body is not None:
            said["content-type"] = "application/json"
        sent = False
        try:
            connection.connect()
            sent = True
            connection.request(method, path, body, said)
            return Answer(connection.getresponse(), self.address)
        except ssl.SSLCertVerificationError as error:
            raise CCImagesError(
                f"the certificate of {self.address} does not count: {printable(error.verify_message)}",
                hint="--ca-file FILE or SSL_CERT_FILE, where a private authority has signed it",
                reason=Reason.UNREACHABLE,
            ) from None
        except (OSError, HTTPException) as error:
            refusal = self._proxy.refusal(error) if self._proxy is not None else None
            if refusal is not None:
                raise refusal from None
            through = f" through the proxy {self._proxy}" if self._proxy is not None else ""
            raise Cut(f"{self.address} does not answer{through}: {_words(error)}", sent=sent) from None

    def _connection(self) -> HTTPConnection:
        host, port = self.address.host, self.address.port
        if self._context is None:
            return HTTPConnection(host, port, timeout=self._timeout)
        if self._proxy is not None:
            return self._proxy.tunnel(self.address, self._timeout, self._context)
        return HTTPSConnection(host, port, timeout=self._timeout, context=self._context)


def _context(authorities: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities or None)
    except (OSError, ssl.SSLError) as error:
        why = "has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise UserError(f"{authorities}: {why}", hint="--ca-file names a file with certificates, as PEM") from None


def _words(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(str(said))[:200]
