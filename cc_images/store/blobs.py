"""Blobs: immutable files, named by the sha256 of their content.

A blob is *sealed* where it was staged (hashed, flushed, read-only, its time set to MARK), then *placed* by a rename, so
that it exists whole or not at all. Any later write to it moves its time away from MARK, which a look at its size
and time therefore notices without reading it; a look that reads all of it is for blobs that are about to be used. What
fails either is put into quarantine, so that nothing is ever built from it.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.host.files import CHUNK, Written, clear_errors, file_digest, flush_folder

_DIGEST = re.compile(r"[0-9a-f]{64}")

MARK = 1_700_000_000_000_000_000
"""The modification time of every blob, in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A sealed file: its digests and its size in bytes."""

    path: Path
    digest: str
    sha512: str
    size: int


class Blobs:
    """The folders `blobs/` and `quarantine/` of a store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Return where the blob with this digest is, or would be. Raises ValueError for a text that is no digest."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is no digest")
        return self.root.joinpath("blobs", "sha256", digest[:2], digest)

    def seal(self, staged: Path, *, sha512: bool = True, written: Written | None = None) -> Blob:
        """Finish a file that lies on the store's file system: hash it, flush it, make it read-only.

        Without `sha512`, which only sites ask for, the blob's is empty. With `written` the file is not read again.
        """
        if written is not None:
            with clear_errors(self.root):
                with staged.open("rb") as file:
                    os.fsync(file.fileno())
                _mark(staged)
            return Blob(staged, written.digest, written.sha512, written.size)
        name, other, size = hashlib.sha256(), hashlib.sha512(), 0
        with clear_errors(self.root):
            with staged.open("rb") as file:
                while chunk := file.read(CHUNK):
                    name.update(chunk)
                    if sha512:
                        other.update(chunk)
                    size += len(chunk)
                os.fsync(file.fileno())
            _mark(staged)
        return Blob(staged, name.hexdigest(), other.hexdigest() if sha512 else "", size)

    def place(self, sealed: Blob) -> Path:
        """Put a sealed file into its place, also over one that is there: this one has just been read."""
        path = self.path(sealed.digest)
        with clear_errors(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            sealed.path.rename(path)
            flush_folder(path.parent)
        return path

    def add(self, staged: Path) -> Blob:
        """Seal and place a file; return the blob in its place."""
        sealed = self.seal(staged)
        return Blob(self.place(sealed), sealed.digest, sealed.sha512, sealed.size)

    def looks_intact(self, digest: str, size: int = -1) -> bool:
        """Say whether a blob is there and was not written to since it was sealed, at the cost of one stat.

        A blob of another time may have been copied with its store: it is read, and marked again when it is right.
        """
        path = self.path(digest)
        try:
            status = path.stat()
        except OSError:
            return False
        if size in (-1, status.st_size) and status.st_mtime_ns == MARK:
            return True
        if size in (-1, status.st_size) and self.is_intact(digest):
            with suppress(OSError):  # another user's store: the next look reads it again
                _mark(path)
            return True
        self.quarantine(digest)
        return False

    def is_intact(self, digest: str, name: Path | None = None) -> bool:
        """Say whether a blob has the content that its name says; reads all of it, and puts a wrong one away.

        `name` is another name of the blob, which is removed when its content is wrong.
        """
        try:
            right = file_digest(name or self.path(digest)) == digest
        except OSError:
            return False
        if not right:
            if name is not None:
                name.unlink(missing_ok=True)
            self.quarantine(digest)
        return right

    def is_damaged(self, digest: str) -> bool:
        """Say whether a blob has another content than its name says, and put it away; one that is gone has none."""
        wrong = self.has_other_content(digest)
        if wrong:
            self.quarantine(digest)
        return wrong

    def has_other_content(self, digest: str) -> bool:
        """Read a blob and say whether its content is another than its name says; one that is gone has none."""
        try:
            return file_digest(self.path(digest)) != digest
        except (OSError, ValueError):
            return False

    def quarantine(self, digest: str) -> None:
        """Move a damaged blob to the quarantine, where only a person finds it."""
        aside = self.root / "quarantine" / f"{digest}.{time.time_ns()}"
        with suppress(OSError):
            aside.parent.mkdir(parents=True, exist_ok=True)
            self.path(digest).rename(aside)

    def all(self) -> Iterator[Path]:
        """Yield every blob."""
        yield from (self.root / "blobs" / "sha256").glob("??/*")

    def remove(self, digest: str) -> int:
        """Remove a blob and return how many bytes that frees once its last use ends."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except OSError:
            return 0
        return size


def _mark(path: Path) -> None:
    path.chmod(0o444)
    os.utime(path, ns=(MARK, MARK))
