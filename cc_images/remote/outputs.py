"""Outputs of an attempt: files on their way to the head's store, and the blobs that they become.

An output is written to `partial/<digest>`, which a broken connection leaves for the next one to go on with. When all
of it is there and right, it gets a name in `put/` and becomes a blob. A blob that the store had already gets one in
`had/`. Both names keep the bytes, even if another process removes the blob meanwhile.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cc_images.host.files import CHUNK, Written, clear_errors, flush_folder, try_lock
from cc_images.store.records import Store

LOOK = 0.02
"""Seconds between two looks whether a connection still brings an output."""


class Busy(Exception):
    """Another connection is at work on the same output."""


class Elsewhere(Exception):
    """An output does not end where a caller thinks."""

    def __init__(self, end: int) -> None:
        super().__init__(f"it ends at {end}")
        self.end = end


class Partial:
    """An output on its way, locked; `end` is the byte at which it ends."""

    def __init__(self, path: Path, descriptor: int, end: int) -> None:
        self.path = path
        self.end = end
        self._descriptor = descriptor
        self._digest = hashlib.sha256() if end == 0 else None
        """Of all bytes, if they came through here."""

    def write(self, data: memoryview) -> None:
        """Append to the file. Raises OSError; what was written stays."""
        while data:
            written = os.pwrite(self._descriptor, data, self.end)
            if self._digest is not None:
                self._digest.update(data[:written])
            data, self.end = data[written:], self.end + written

    def digest(self, tick: Callable[[], None]) -> str:
        """Return the digest of the file; `tick` is called now and then while it is read again."""
        if self._digest is not None:
            return self._digest.hexdigest()
        found, at = hashlib.sha256(), 0
        while chunk := os.pread(self._descriptor, CHUNK, at):
            found.update(chunk)
            at += len(chunk)
            tick()
        return found.hexdigest()


class Outputs:
    """The outputs of the attempt that has this folder."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def has(self, digest: str) -> bool:
        """Say whether the store has a blob; if it has, it stays for this attempt."""
        blob = self._store.blobs.path(digest)
        with clear_errors(self._store.root):
            if not blob.exists():
                self._restore(digest)
            if not self._store.blobs.looks_intact(digest):
                for name in ("put", "had"):
                    (self._folder / name / digest).unlink(missing_ok=True)
                return False
            if not (self._folder / "put" / digest).exists():
                with suppress(FileExistsError, FileNotFoundError):
                    os.link(blob, self._folder / "had" / digest)
        return True

    def was_put(self, digest: str) -> bool:
        """Say whether the attempt itself has sent this blob."""
        return (self._folder / "put" / digest).exists()

    def held(self) -> set[str]:
        """Return the digests of the blobs that the attempt has sent or named."""
        found: set[str] = set()
        for name in ("put", "had"):
            with suppress(OSError):
                found.update(os.listdir(self._folder / name))
        return found

    def end(self, digest: str) -> int:
        """Return the byte at which an output on its way ends."""
        with suppress(FileNotFoundError):
            return (self._folder / "partial" / digest).stat().st_size
        return 0

    def settle(self, digest: str, seconds: float, tick: Callable[[], None]) -> None:
        """Wait until no connection brings an output, at most so long; `tick` is called now and then.

        A connection that is dying may still bring some of it: only then is it known where the next one goes on.
        """
        deadline = time.monotonic() + seconds
        with suppress(FileNotFoundError), (self._folder / "partial" / digest).open("rb") as file:
            while time.monotonic() < deadline:
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return
                time.sleep(LOOK)
                tick()

    def lacking(self, blobs: Mapping[str, int]) -> list[str]:
        """Return which of the blobs, by digest and size, are not whole in the store, or not this attempt's."""
        held = self.held()
        return [
            digest
            for digest, size in sorted(blobs.items())
            if digest not in held or not self.has(digest) or self._store.blobs.path(digest).stat().st_size != size
        ]

    def discard(self, digest: str) -> None:
        """Remove what there is of an output on its way, unless a connection brings it."""
        path = self._folder / "partial" / digest
        with suppress(FileNotFoundError), path.open("rb") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file.fileno(), path):
                path.unlink()

    @contextmanager
    def receiving(self, digest: str, at: int) -> Iterator[Partial]:
        """Open an output to append at byte `at`. Raises Busy, Elsewhere, and OSError."""
        path = self._folder / "partial" / digest
        if (descriptor := try_lock(path)) is None:
            raise Busy
        try:
            if not _is_at(descriptor, path):  # it has just become a blob, or was thrown away
                raise Busy
            end = os.fstat(descriptor).st_size
            if at != end:
                if not end:  # to lock the file has made it
                    path.unlink()
                raise Elsewhere(end)
            if self.has(digest):  # since the caller looked
                path.unlink()
                raise Busy
            yield Partial(path, descriptor, end)
        finally:
            os.close(descriptor)

    def finish(self, partial: Partial, tick: Callable[[], None]) -> bool:
        """Make a blob of an output that has all its bytes; if they are wrong it is removed, and the answer False."""
        digest = partial.path.name
        if partial.digest(tick) != digest:
            partial.path.unlink()
            return False
        sealed = self._store.blobs.seal(partial.path, written=Written(digest=digest, sha512="", size=partial.end))
        with clear_errors(self._store.root):
            (self._folder / "put" / digest).unlink(missing_ok=True)
            os.link(partial.path, self._folder / "put" / digest)
            flush_folder(self._folder / "put")
        self._store.blobs.place(sealed)
        return True

    def _restore(self, digest: str) -> None:
        """Make a blob again of a name that this attempt has, after another process removed the blob."""
        blob = self._store.blobs.path(digest)
        for name in ("put", "had"):
            with suppress(FileNotFoundError, FileExistsError):
                blob.parent.mkdir(parents=True, exist_ok=True)
                os.link(self._folder / name / digest, blob)
                flush_folder(blob.parent)
                return


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False
