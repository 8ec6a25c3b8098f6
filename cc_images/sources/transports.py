"""Transports of artifacts: the web, a file, the object store of a cloud, each opened from a byte on.

Owns the protocols and their failures as errors of ours; `artifacts` stores the bytes. An address may hold a signature
or a password: neither is ever quoted.
"""

from __future__ import annotations

import base64
import http.client
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from cc_images.errors import CCImagesError, Reason
from cc_images.host.files import CHUNK
from cc_images.model.catalog import Download
from cc_images.model.redaction import without_secrets
from cc_images.sites.cloud import ANSWER_TIMEOUT, CONNECT_TIMEOUT, Cloud
from cc_images.sources import images


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An open download: where in the file it begins, the file's size (0: not said), what names this state of it."""

    start: int
    total: int
    validator: str
    chunks: Iterator[bytes]


Opener = Callable[[int], AbstractContextManager[Stream]]
"""Opens a source from a byte on; a source that cannot do that begins at 0. Raises CCImagesError."""


def opener(
    artifact: Download, clouds: Mapping[str, str], folder: Path | None = None, stop: threading.Event | None = None
) -> Opener:
    """Return what opens an artifact's source; `clouds` has the clouds.yaml entry of each site.

    What a transport brings as a whole lies in `folder` until it is read.
    """
    if not artifact.url:
        cloud = Cloud(artifact.site, clouds.get(artifact.site, artifact.site))
        return lambda start: _object(artifact, cloud, start)
    if artifact.url.startswith("file:"):
        return lambda start: _file(artifact)
    if artifact.url.startswith(images.SCHEME):
        return lambda start: _image(artifact, folder, stop)
    return lambda start: _web(artifact, start)


@contextmanager
def _image(artifact: Download, folder: Path | None, stop: threading.Event | None) -> Iterator[Stream]:
    with images.archive(artifact, folder, stop) as path, path.open("rb") as file:
        size = path.stat().st_size
        yield Stream(start=0, total=size, validator="", chunks=iter(lambda: file.read(CHUNK), b""))


@contextmanager
def _file(artifact: Download) -> Iterator[Stream]:
    path = Path(urllib.request.url2pathname(artifact.url.removeprefix("file://")))
    try:
        file = path.open("rb")
    except OSError as error:
        raise CCImagesError(
            f"artifact {artifact.shown} cannot be fetched: {error.strerror}",
            hint="check its url in images.yaml",
            reason=Reason.FETCH,
        ) from error
    with file:
        size = path.stat().st_size
        yield Stream(start=0, total=size, validator="", chunks=iter(lambda: file.read(CHUNK), b""))


@contextmanager
def _web(artifact: Download, start: int) -> Iterator[Stream]:
    with _translated(artifact):
        address, login = _without_login(artifact.url)
        request = urllib.request.Request(address, headers={"User-Agent": "cc-images", **_range(start)})
        for name, value in login.items():
            request.add_unredirected_header(name, value)
        try:
            answer = urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT)
        except urllib.error.HTTPError as error:
            said = http.client.responses.get(error.code, "")
            raise _refused(artifact, error.code, said, "check its url in images.yaml") from None
    with answer:

        def chunks() -> Iterator[bytes]:
            with _translated(artifact):
                yield from iter(lambda: answer.read1(CHUNK), b"")  # what is there, not a whole chunk

        yield _stream(artifact, answer.status, answer.headers, chunks(), start)


@contextmanager
def _translated(artifact: Download) -> Iterator[None]:
    """Turn what the network and a server do into our error; addresses may hold a signature, so they are not quoted."""
    try:
        yield
    except http.client.InvalidURL:
        raise _no_address(artifact) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise CCImagesError(
            f"artifact {artifact.shown} cannot be fetched: {without_secrets(str(reason))}",
            hint="check its url in images.yaml, and that the server is up",
            reason=Reason.FETCH,
            temporary=True,
        ) from None
    except ValueError:  # only now: what is wrong with a certificate is an OSError and a ValueError
        raise _no_address(artifact) from None


def _no_address(artifact: Download) -> CCImagesError:
    return CCImagesError(
        f"artifact {artifact.shown} cannot be fetched: its address is wrong",
        hint="check its url in images.yaml, and the variables of mirrors",
        reason=Reason.FETCH,
    )


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """Return an address without user and password, and the header that says them instead (RFC 7617)."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    clean = urlunsplit(parts._replace(netloc=host, path=quote(parts.path, safe="/%:@!$&'()*+,;=~"), fragment=""))
    said = base64.b64encode(unquote(login).encode()).decode()
    return clean, {"Authorization": f"Basic {said}"} if at else {}


@contextmanager
def _object(artifact: Download, cloud: Cloud, start: int) -> Iterator[Stream]:
    """Open an object of a Swift-compatible store, as the user of clouds.yaml."""
    path, headers = quote(f"/{artifact.object.lstrip('/')}"), _range(start)

    with cloud.translated():
        answer = cloud.connection().object_store.request(
            path, "GET", headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, ANSWER_TIMEOUT)
        )
    try:
        if answer.status_code >= 300:
            hint = f"check object (container/name) in images.yaml, and what {artifact.site} lets the project read"
            raise _refused(artifact, answer.status_code, answer.reason, hint)
        yield _stream(artifact, answer.status_code, answer.headers, _received(answer, cloud), start)
    finally:
        answer.close()


def _received(answer: Any, cloud: Cloud) -> Iterator[bytes]:
    with cloud.translated():
        yield from answer.raw.stream(CHUNK, decode_content=False)


def _range(start: int) -> dict[str, str]:
    return {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}


def _stream(
    artifact: Download, status: int, headers: Mapping[str, str], chunks: Iterator[bytes], wanted: int
) -> Stream:
    """Return the answer to a request from byte `wanted` on: the whole file, or its rest (206, RFC 9110 section 15.3.7).

    A weak entity tag (section 8.8.3) names no state of the bytes.
    """
    length = headers.get("Content-Length") or ""
    start, total = 0, int(length) if length.isdecimal() else 0
    if status == http.client.PARTIAL_CONTENT:
        found = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", headers.get("Content-Range") or "")
        if found is None or int(found[1]) != wanted:
            raise _refused(artifact, 416, "a part of it that nobody asked for", "see the server's log")
        start = wanted
        total = int(found[2]) if found[2] != "*" else start + total if total else 0
    tag = headers.get("ETag") or ""
    validator = headers.get("Last-Modified") or "" if not tag or tag.startswith("W/") else tag
    return Stream(start=start, total=total, validator=validator, chunks=chunks)


class NothingBehind(CCImagesError):
    """A server has nothing behind the bytes that were fetched so far."""


def _refused(artifact: Download, status: int, said: str, hint: str) -> CCImagesError:
    message = f"artifact {artifact.shown} cannot be fetched: {status} {said}"
    if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return NothingBehind(message, hint=hint, reason=Reason.RANGE, temporary=True)
    temporary = status in (408, 429, 500, 502, 503, 504)
    return CCImagesError(message, hint=hint, reason=Reason.FETCH, temporary=temporary)
