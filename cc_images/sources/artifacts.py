"""Artifacts: files that no package repository has, brought into the store by https, from a file, or from a cloud.

The bytes of a broken download stay in the store below `partial/`, and the next try goes on from there when the
server says that the file is still the same, or when the catalogue says what the whole file must be. Whatever comes is
compared with the catalogue's digest before anybody sees it.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.host.files import file_digest, write_json
from cc_images.model.catalog import Download
from cc_images.sources.transports import NothingBehind, Opener, Stream, opener
from cc_images.store.blobs import Blob
from cc_images.store.records import Store

_log = logging.getLogger(__name__)

TRIES, PAUSE = 4, 1.0
"""How often in a row a download may break off without a new byte, and the seconds before the second try."""

FORGOTTEN = 14 * 86400.0
"""Seconds after which an unfinished download is given up."""


def fetch(
    artifact: Download,
    store: Store,
    clouds: Mapping[str, str],
    *,
    stop: threading.Event,
    report: Callable[[int, int], None] = lambda done, total: None,
    pause: float = PAUSE,
) -> Blob:
    """Bring an artifact into the store and return its blob.

    `clouds` has the clouds.yaml entry of each site; what is no site is taken for an entry itself.

    `report` gets bytes so far and in all (0 when the server does not say). Raises CCImagesError for a source that
    cannot be read, and for content that is not what the catalogue says.
    """
    name = artifact.sha256 or artifact.identity
    with store.lock(f"artifact {name}", stop=stop):
        if artifact.sha256 and store.blobs.is_intact(artifact.sha256):  # another run has just brought it
            path = store.blobs.path(artifact.sha256)
            return Blob(path, artifact.sha256, "", path.stat().st_size)
        partial = _Partial(store.root / "partial" / name, anything_goes=bool(artifact.sha256))
        source = opener(artifact, clouds, store.root / "partial" / name, stop)
        for _ in range(2):
            resumed = partial.size > 0
            _download(artifact, source, partial, stop, report, pause)
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
            reason=Reason.DIGEST,
        )


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
        """Say whether the bytes of a stream can be appended, after dropping those here that do not precede them."""
        same = self._anything_goes or (bool(stream.validator) and self._validator() == stream.validator)
        fits = stream.start == 0 or (same and stream.start == self.size)
        if stream.start == 0 or not fits:
            self.clear()
        write_json(self._folder / "state.json", {"validator": stream.validator})
        return fits

    def is_whole(self, sha256: str) -> bool:
        """Say whether what is here has the digest: a process was killed before it could place it."""
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


def forget_old(store: Store, seconds: float = FORGOTTEN) -> None:
    """Remove the unfinished downloads that no run has continued for so many seconds."""
    for each in (store.root / "partial").glob("*"):
        with suppress(OSError):
            if time.time() - each.stat().st_mtime > seconds:
                shutil.rmtree(each, ignore_errors=True)


def _download(
    artifact: Download,
    source: Opener,
    partial: _Partial,
    stop: threading.Event,
    report: Callable[[int, int], None],
    first_pause: float,
) -> None:
    """Bring the whole file, in as many tries as bring more than there ever was; restarts are few in any case."""
    fruitless, restarts, most, pause = 0, 0, partial.size, first_pause
    while True:
        try:
            with source(partial.size) as stream:
                if partial.begin(stream):
                    return _receive(artifact, stream, partial, stop, report)
                restarts += 1  # the server went on with another file: from the beginning
                error = CCImagesError(
                    f"artifact {artifact.shown} changed during the download", reason=Reason.FETCH, temporary=True
                )
        except CCImagesError as caught:
            error = caught
            if isinstance(error, NothingBehind):
                if partial.is_whole(artifact.sha256):
                    return None
                partial.clear()
                restarts += 1
        fruitless = 0 if partial.size > most else fruitless + 1
        most = max(most, partial.size)
        if not error.temporary or fruitless >= TRIES or restarts >= TRIES:
            raise error
        pause = pause * 2 if fruitless else first_pause
        _log.info("%s; retry in %g s from byte %d on", error.message, pause, partial.size)
        if stop.wait(pause):
            raise Interrupted("the download was stopped")


def _receive(
    artifact: Download,
    stream: Stream,
    partial: _Partial,
    stop: threading.Event,
    report: Callable[[int, int], None],
) -> None:
    done = stream.start
    with partial.file.open("ab") as file:
        for chunk in stream.chunks:
            if stop.is_set():
                raise Interrupted("the download was stopped")
            file.write(chunk)
            done += len(chunk)
            report(done, stream.total)
    if stream.total and done != stream.total:
        raise CCImagesError(
            f"artifact {artifact.shown} broke off after {done} of {stream.total} bytes",
            reason=Reason.FETCH,
            temporary=True,
        )
