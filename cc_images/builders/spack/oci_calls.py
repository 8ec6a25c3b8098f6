"""HTTP calls to one repository of a registry, by the distribution specification 1.1: blobs and manifests.

Owns retries, redirects, uploads and what failures mean. A secret goes to the registry's own address and its place for
tokens alone, never along a redirect; nothing of a registry with TLS is asked for without.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from cc_images.builders.spack.cache_layout import Blob, Odd
from cc_images.builders.spack.oci_login import Login
from cc_images.builders.spack.places import copied
from cc_images.errors import CCImagesError, Reason
from cc_images.model.build_cache import BuildCache
from cc_images.model.plain_text import clean

_log = logging.getLogger(__name__)

T = TypeVar("T")

REACHED, ANSWER = 10.0, 60.0
"""Seconds that a registry may take to be reached, and to answer or go on."""

TRIES, PAUSE = 3, 0.5
"""How often a call is made, and seconds between the first two; between the next ones four times as many."""

READS, WRITES = "pull", "pull,push"
"""What a login is for."""

MOST_OF_A_TOKEN = 1 << 20

_FAILURES: Mapping[int, tuple[Reason, str]] = {
    401: (Reason.CREDENTIALS, "log in with `skopeo login`, or correct the variables that sites.yaml names"),
    403: (Reason.FORBIDDEN, "ask the registry's owner to let this account read and push there"),
    413: (Reason.QUOTA, "ask the registry's owner: it takes no blobs of this size"),
    507: (Reason.QUOTA, "free some space there, or ask for a larger quota"),
}
_PASS = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same call may succeed."""


class _Redirects(HTTPRedirectHandler):
    """Follows a redirect of a question; of a registry with TLS only to places with TLS. Uploads are not led away."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        followed = ("https",) if req.type == "https" else ("http", "https")
        if req.get_method() not in ("GET", "HEAD") or urlsplit(newurl).scheme not in followed:
            raise HTTPError(req.full_url, code, "a redirect that is not followed", headers, fp)
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            new.method = req.get_method()
            if _origin(newurl) == _origin(req.full_url) and (said := req.get_header("Authorization")):
                new.add_unredirected_header("Authorization", said)
        return new


class Calls:
    """Calls to the repository of a build cache; paths are below it. All raise CCImagesError."""

    def __init__(self, cache: BuildCache) -> None:
        self._cache = cache
        host, _, repository = cache.repository.partition("/")
        self._top = f"{'http' if cache.insecure else 'https'}://{host}"
        self._base = f"{self._top}/v2/{repository}/"
        self._login = Login(cache, self._told)
        self._authorization: dict[str, str] = {}
        self._is_reached = False

    def read(self, path: str, most: int, kind: str) -> bytes | None:
        """Return something small of a media type, None if there is none. Raises Odd for more than `most` bytes."""

        def call() -> bytes | None:
            with self._found(path, "GET", {"Accept": kind}) as answer:
                content: bytes | None = None if answer is None else answer.read(most + 1)
                if content is not None and len(content) <= most:
                    _require_end(answer)
                return content

        content = self._tried(call)
        if content is not None and len(content) > most:
            raise Odd(f"{path} is too large")
        return content

    def size(self, path: str) -> int | None:
        """Return the size of a blob in bytes, None if there is none."""

        def call() -> int | None:
            with self._found(path, "HEAD") as answer:
                return None if answer is None else int(answer.headers.get("Content-Length") or -1)

        return self._tried(call)

    def fetch(self, blob: Blob, to: BinaryIO) -> None:
        """Write a blob's bytes, unchecked, but no more than it has. Raises Odd when it is gone."""

        def call() -> None:
            to.seek(0)
            to.truncate()
            with self._found(_path(blob), "GET") as answer:
                if answer is None:
                    raise Odd("a blob of it is missing")
                if int(answer.headers.get("Content-Length") or blob.size) != blob.size:
                    raise Odd("a blob of it has another size")
                try:
                    copied(answer, to, blob.size)
                except Odd:
                    _require_end(answer)
                    raise

        self._tried(call)

    def upload(self, blob: Blob, content: Path | bytes) -> None:
        """Bring a blob, in one piece. The registry looks at its digest."""

        def call() -> None:
            begun = urljoin(self._base, "blobs/uploads/")
            with self._answer("POST", begun, {}, b"") as answer:
                place = urljoin(begun, answer.headers.get("Location") or "")
            if urlsplit(place).scheme != urlsplit(self._top).scheme:
                raise self._failure(Reason.SITE, "it names a place for uploads that is not by the same scheme")
            whole = f"{place}{'&' if urlsplit(place).query else '?'}digest=sha256:{blob.digest}"
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
            with self._answer("PUT", whole, headers, content):
                pass

        self._tried(call)

    def put(self, tag: str, manifest: bytes, kind: str) -> None:
        """Bring a manifest under a tag."""

        def call() -> None:
            with self._answer("PUT", urljoin(self._base, f"manifests/{tag}"), {"Content-Type": kind}, manifest):
                pass

        self._tried(call)

    @cached_property
    def _opener(self) -> OpenerDirector:
        if self._cache.insecure:
            return build_opener(_Redirects, ProxyHandler({}))  # HTTP on loopback has no business with a proxy
        trust = ssl.create_default_context()
        if self._cache.ca:
            try:
                trust.load_verify_locations(self._cache.ca)
            except OSError as error:
                raise self._failure(
                    Reason.VALUE,
                    f"{self._cache.ca}: {error.strerror or error}",
                    "let `ca` in sites.yaml name a file with the certificates, as PEM, that may sign the registry's",
                ) from error
        return build_opener(_Redirects, HTTPSHandler(context=trust))

    # -- one call -------------------------------------------------------------------------------------------------

    def _tried(self, call: Callable[[], T]) -> T:
        """Make a call, and again while that may help."""
        pause = PAUSE
        for left in reversed(range(TRIES)):
            try:
                with self._errors():
                    self._reach()
                    return call()
            except CCImagesError as error:
                if not (error.temporary and left and self._is_reached):
                    raise
                _log.info("%s; retry in %g s", error.message, pause)
                time.sleep(pause)
                pause *= 4
        raise AssertionError("the last try returns or raises")

    def _reach(self) -> None:
        """Ask for nothing first, so that a registry that is away is known to be soon."""
        if self._is_reached:
            return
        try:
            self._opener.open(f"{self._top}/v2/", timeout=REACHED).close()
        except HTTPError as error:
            error.close()  # it wants a login
        self._is_reached = True

    @contextmanager
    def _found(self, path: str, method: str, headers: Mapping[str, str] | None = None) -> Iterator[Any]:
        """Give the answer to a question; None for what is not there."""
        with ExitStack() as stack:
            try:
                answer = stack.enter_context(self._answer(method, urljoin(self._base, path), headers or {}, None))
            except HTTPError as error:
                if error.code != 404:
                    raise
                error.close()
                answer = None
            yield answer

    @contextmanager
    def _answer(self, method: str, url: str, headers: Mapping[str, str], body: Path | bytes | None) -> Iterator[Any]:
        """Make a call, once more if the registry asks for a login; give the answer while it is read."""
        actions = READS if method in ("GET", "HEAD") else WRITES
        for is_last in (False, True):
            with ExitStack() as stack:
                content = stack.enter_context(body.open("rb")) if isinstance(body, Path) else body
                request = Request(url, content, dict(headers), method=method)
                if _origin(url) == self._top and actions in self._authorization:
                    request.add_unredirected_header("Authorization", self._authorization[actions])
                try:
                    answer = stack.enter_context(self._opener.open(request, timeout=ANSWER))
                except HTTPError as error:
                    if error.code != 401 or is_last or _origin(error.geturl()) != self._top:
                        raise  # a place behind a redirect gets no secret
                    challenge = ", ".join(error.headers.get_all("WWW-Authenticate") or [])
                    error.close()
                    self._authorization[actions] = self._login.authorization(challenge, actions)
                    continue
                yield answer
                return

    def _told(self, url: str, headers: Mapping[str, str]) -> Any:
        """Return what the place for tokens says."""
        request = Request(url)
        for name, value in headers.items():
            request.add_unredirected_header(name, value)
        with self._errors(), self._opener.open(request, timeout=ANSWER) as answer:
            return json.loads(answer.read(MOST_OF_A_TOKEN))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what a call raises into our error. Addresses stay out of it: those for uploads have secrets."""
        try:
            yield
        except HTTPError as error:
            reason, hint = _FAILURES.get(error.code, (Reason.SITE, "see the registry's own log"))
            said = _said(error)
            raise self._failure(
                reason, f"HTTP {error.code} {said}".rstrip(), hint, temporary=error.code in _PASS
            ) from error
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, URLError) else error
            if isinstance(cause, ssl.SSLError):
                hint = "name whom its certificate is signed by, `ca: FILE`; for HTTP on loopback say `insecure: yes`"
                raise self._failure(Reason.UNREACHABLE, str(cause), hint) from error
            text = str(cause) or type(cause).__name__
            hint = "see whether the registry runs and can be reached from here"
            raise self._failure(Reason.UNREACHABLE, text, hint, temporary=True) from error
        except (ValueError, RecursionError) as error:
            if isinstance(error, Odd):
                raise
            raise self._failure(Reason.SITE, "its answer is not that of a registry") from error

    def _failure(self, reason: Reason, said: str, hint: str = "", *, temporary: bool = False) -> CCImagesError:
        return CCImagesError(f"{self._cache.url}: {said[:300]}", hint=hint, reason=reason, temporary=temporary)


def _said(error: HTTPError) -> str:
    """Return what a registry says of an error, else the word that goes with its status."""
    try:
        with error:
            said = json.loads(error.read(1 << 14))["errors"][0]
        return clean(f"{said.get('code', '')} {said.get('message', '')}".encode())
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return clean(str(error.reason).encode())


def _require_end(answer: Any) -> None:
    """Raise ConnectionError when the connection ended before an answer did."""
    if answer.length:
        raise ConnectionError("the connection was cut")


def _path(blob: Blob) -> str:
    return f"blobs/sha256:{blob.digest}"


def _origin(url: str) -> str:
    """Return scheme, host and port of an address."""
    found = urlsplit(url)
    return f"{found.scheme}://{found.netloc}"
