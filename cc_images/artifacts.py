"""Artifacts: files that no package repository has, brought into the store by https, from a file, or from a cloud.

What a broken download has brought stays in the store below `partial/`, and the next try goes on from there when the
server says that the file is still the same, or when the catalogue says what the whole file must be. Whatever comes is
compared with the catalogue's digest before anybody sees it.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from cc_images.blobs import CHUNK, Blob
from cc_images.cloud import ANSWER_TIMEOUT, CONNECT_TIMEOUT, Cloud
from cc_images.errors import CCImagesError, Interrupted
from cc_images.files import file_digest, write_json
from cc_images.model import Artifact
from cc_images.recipe import without_secrets
from cc_images.store import Store

TRIES, PAUSE = 4, 1.0
"""How often in a row a download may break off without a new byte, and the seconds before the second try."""

FORGOTTEN = 14 * 86400.0
"""Seconds after which nobody goes on with an unfinished download."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An open download: where in the file it begins, the file's size (0: not said), what names this state of it."""

    start: int
    total: int
    validator: str
    chunks: Iterator[bytes]


Opener = Callable[[int], AbstractContextManager[Stream]]
"""Opens a source from a byte on; a source that cannot do that begins at 0. Raises CCImagesError."""


def fetch(
    artifact: Artifact,
    store: Store,
    clouds: Mapping[str, str],
    *,
    stop: threading.Event,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Blob:
    """Bring an artifact into the store and return its blob.

    `clouds` has the clouds.yaml entry of each site; what is no site is taken for an entry itself.

    `report` is told bytes so far and in all (0 when the server does not say). Raises CCImagesError for a source that
    cannot be read, and for content that is not what the catalogue says.
    """
    name = artifact.sha256 or artifact.identity
    with store.lock(f"artifact {name}", stop=stop):
        if artifact.sha256 and store.blobs.is_intact(artifact.sha256):  # another run has just brought it
            path = store.blobs.path(artifact.sha256)
            return Blob(path, artifact.sha256, "", path.stat().st_size)
        _forget_old(store.root / "partial")
        partial = _Partial(store.root / "partial" / name, anything_goes=bool(artifact.sha256))
        opener = _opener(artifact, clouds)
        for _ in range(2):
            resumed = partial.size > 0
            _download(artifact, opener, partial, stop, report)
            sealed = store.blobs.seal(partial.file, sha512=False)
            if artifact.sha256 in ("", sealed.digest):
                blob = Blob(store.blobs.place(sealed), sealed.digest, "", sealed.size)
                partial.forget()
                return blob
            partial.forget()
            if not resumed:
                break
        raise CCImagesError(
            f"artifact {artifact.shown} has the digest {sealed.digest}, not {artifact.sha256}",
            hint="if the new file is the right one, correct sha256 in images.yaml",
            reason="digest",
        )


def _opener(artifact: Artifact, clouds: Mapping[str, str]) -> Opener:
    """Return what opens an artifact's source."""
    if not artifact.url:
        cloud = Cloud(artifact.site, clouds.get(artifact.site, artifact.site))
        return lambda start: _object(artifact, cloud, start)
    if artifact.url.startswith("file:"):
        return lambda start: _file(artifact)
    return lambda start: _web(artifact, start)


class _Partial:
    """The unfinished download of one artifact, and what named its state; `anything_goes`: a digest will tell."""

    def __init__(self, folder: Path, *, anything_goes: bool) -> None:
        self._folder = folder
        self._anything_goes = anything_goes
        self.file = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        """Bytes from which a download may go on."""
        if not self.file.exists() or not (self._anything_goes or self._validator()):
            return 0
        return self.file.stat().st_size

    def begin(self, stream: Stream) -> bool:
        """Say whether what a stream brings belongs behind what is here; else what is here goes."""
        same = self._anything_goes or (bool(stream.validator) and self._validator() == stream.validator)
        fits = stream.start == 0 or (same and stream.start == self.size)
        if stream.start == 0 or not fits:
            self.clear()
        write_json(self._folder / "state.json", {"validator": stream.validator})
        return fits

    def is_whole(self, sha256: str) -> bool:
        """Say whether what is here has the digest: somebody was killed before he could put it in its place."""
        return bool(sha256) and self.file.exists() and file_digest(self.file) == sha256

    def clear(self) -> None:
        """Let the next try begin at the beginning."""
        self.file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove what is here."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _validator(self) -> str:
        with suppress(OSError, ValueError):
            return str(json.loads((self._folder / "state.json").read_text())["validator"])
        return ""


def _forget_old(folder: Path) -> None:
    """Remove the unfinished downloads that nobody went on with."""
    for each in folder.glob("*"):
        with suppress(OSError):
            if time.time() - each.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(each, ignore_errors=True)


def _download(
    artifact: Artifact,
    opener: Opener,
    partial: _Partial,
    stop: threading.Event,
    report: Callable[[int, int], None],
) -> None:
    """Bring the whole file, in as many tries as bring more than there ever was; restarts are few in any case."""
    fruitless, restarts, most, pause = 0, 0, partial.size, PAUSE
    while True:
        try:
            with opener(partial.size) as stream:
                if partial.begin(stream):
                    return _receive(artifact, stream, partial, stop, report)
                restarts += 1  # the server went on with another file: from the beginning
                error = CCImagesError(
                    f"artifact {artifact.shown} changes while it is fetched", reason="fetch", temporary=True
                )
        except CCImagesError as caught:
            error = caught
            if error.reason == "range":  # there is nothing behind what is here
                if partial.is_whole(artifact.sha256):
                    return None
                partial.clear()
                restarts += 1
        fruitless = 0 if partial.size > most else fruitless + 1
        most = max(most, partial.size)
        if not error.temporary or fruitless >= TRIES or restarts >= TRIES:
            raise error
        pause = pause * 2 if fruitless else PAUSE
        if stop.wait(pause):
            raise Interrupted("the download was ended")


def _receive(
    artifact: Artifact,
    stream: Stream,
    partial: _Partial,
    stop: threading.Event,
    report: Callable[[int, int], None],
) -> None:
    done = stream.start
    with partial.file.open("ab") as file:
        for chunk in stream.chunks:
            if stop.is_set():
                raise Interrupted("the download was ended")
            file.write(chunk)
            done += len(chunk)
            report(done, stream.total)
    if stream.total and done != stream.total:
        raise CCImagesError(
            f"artifact {artifact.shown} broke off after {done} of {stream.total} bytes", reason="fetch", temporary=True
        )


# -- sources ----------------------------------------------------------------------------------------------------------


@contextmanager
def _file(artifact: Artifact) -> Iterator[Stream]:
    path = Path(urllib.request.url2pathname(artifact.url.removeprefix("file://")))
    try:
        file = path.open("rb")
    except OSError as error:
        raise CCImagesError(
            f"artifact {artifact.shown} cannot be fetched: {error.strerror}",
            hint="check its url in images.yaml",
            reason="fetch",
        ) from error
    with file:
        size = path.stat().st_size
        yield Stream(start=0, total=size, validator="", chunks=iter(lambda: file.read(CHUNK), b""))


@contextmanager
def _web(artifact: Artifact, start: int) -> Iterator[Stream]:
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
def _translated(artifact: Artifact) -> Iterator[None]:
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
            reason="fetch",
            temporary=True,
        ) from None
    except ValueError:  # only now: what is wrong with a certificate is an OSError and a ValueError
        raise _no_address(artifact) from None


def _no_address(artifact: Artifact) -> CCImagesError:
    return CCImagesError(
        f"artifact {artifact.shown} cannot be fetched: its address is wrong",
        hint="check its url in images.yaml, and the variables of mirrors",
        reason="fetch",
    )


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """Return an address without user and password, and the header that says them instead (RFC 7617)."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    clean = urlunsplit(parts._replace(netloc=host, path=quote(parts.path, safe="/%:@!$&'()*+,;=~"), fragment=""))
    said = base64.b64encode(unquote(login).encode()).decode()
    return clean, {"Authorization": f"Basic {said}"} if at else {}


@contextmanager
def _object(artifact: Artifact, cloud: Cloud, start: int) -> Iterator[Stream]:
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
    artifact: Artifact, status: int, headers: Mapping[str, str], chunks: Iterator[bytes], wanted: int
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


def _refused(artifact: Artifact, status: int, said: str, hint: str) -> CCImagesError:
    return CCImagesError(
        f"artifact {artifact.shown} cannot be fetched: {status} {said}",
        hint=hint,
        reason="range" if status == 416 else "fetch",
        temporary=status in (408, 416, 429, 500, 502, 503, 504),
    )
