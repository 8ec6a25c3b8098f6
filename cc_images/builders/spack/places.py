"""Places that hold a build cache: blobs and manifests by their paths in Spack's layout, each whole or not there.

A folder writes beside the cache's own files, in `.parts`, and renames, so that readers and a killed writer see whole
files alone. `sound_blob` says of a blob in a folder of ours that nobody has written to it since its digest was taken.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from cc_images.builders.spack.cache_layout import Blob, Odd
from cc_images.errors import CCImagesError, Reason
from cc_images.host.files import CHUNK, file_digest, flush_folder
from cc_images.store.blobs import MARK

PARTS = ".parts"
LONG_AGO = 86400.0
"""Seconds after which a part of a file is nobody's any more, and a blob that no manifest names neither."""

_HEX = re.compile(r"[0-9a-f]{64}")


class Place(Protocol):
    """A cache: what can be read there, and written."""

    def read(self, path: str, most: int) -> bytes | None:
        """Return a small file, None if there is none. Raises Odd for more than `most` bytes, CCImagesError."""

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, None if there is none. Raises CCImagesError."""

    def fetch(self, blob: Blob, to: BinaryIO) -> None:
        """Write a blob's bytes, unchecked, but no more than it has. Raises Odd when it is gone, CCImagesError."""

    def put(self, path: str, file: Path) -> None:
        """Put a file there, in the place of what is there. Raises CCImagesError."""

    def finish(self, path: str, content: bytes, folder: Path) -> None:
        """Put the signed manifest of a package there whose blobs are there, and in a folder of ours.

        Raises CCImagesError, and Odd for a package that cannot be there.
        """


@runtime_checkable
class Files(Place, Protocol):
    """A cache that is files in Spack's layout, and has more of them than packages are."""

    def write(self, path: str, content: bytes) -> None:
        """Put some bytes there, in the place of what is there. Raises CCImagesError."""


@contextmanager
def errors_of(root: Path) -> Iterator[None]:
    """Turn what a file system says about a cache into an error that says what is wrong where."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise CCImagesError(
            f"the build cache {root} is full" if full else f"the build cache {root}: {error.strerror or error}",
            hint="run `cc-images prune --build-cache`" if full else "check the folder and its owner",
            reason=Reason.DISK_FULL if full else Reason.STORE_UNWRITABLE,
        ) from error


class Folder:
    """A cache in a folder of a file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str, most: int) -> bytes | None:
        with errors_of(self.root):
            try:
                with (self.root / path).open("rb") as file:
                    content = file.read(most + 1)
            except (FileNotFoundError, NotADirectoryError):
                return None
        if len(content) > most:
            raise Odd(f"{path} is too large")
        return content

    def size(self, path: str) -> int | None:
        with errors_of(self.root):
            try:
                return (self.root / path).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def fetch(self, blob: Blob, to: BinaryIO) -> None:
        try:
            with errors_of(self.root), (self.root / blob.path).open("rb") as file:
                copied(file, to, blob.size)
        except CCImagesError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise Odd("a blob of it is missing") from error
            raise

    def put(self, path: str, file: Path) -> None:
        with errors_of(self.root), self.part() as part, file.open("rb") as source:
            while chunk := source.read(CHUNK):
                part.file.write(chunk)
            part.place(path)

    def finish(self, path: str, content: bytes, folder: Path) -> None:
        self.write(path, content)

    def write(self, path: str, content: bytes) -> None:
        with errors_of(self.root), self.part() as part:
            part.file.write(content)
            part.place(path)

    def part(self) -> Part:
        """Begin a file; see `Part`."""
        return Part(self.root)

    def sound_blob(self, blob: Blob) -> bool:
        """Say whether a blob is here and right. It is read only if it was written to since its digest was taken."""
        path = self.root / blob.path
        try:
            status = path.stat()
        except OSError:
            return False
        if status.st_size != blob.size:
            return False
        if status.st_mtime_ns == MARK:
            return True
        if file_digest(path) != blob.digest:
            return False
        with suppress(OSError):
            os.utime(path, ns=(MARK, MARK))
        return True

    def manifests(self, below: str = "v3/manifests") -> Iterator[str]:
        """Yield the paths of all manifests."""
        for folder, _, names in os.walk(self.root / below):
            for name in sorted(names):
                if name.endswith(".manifest.json"):
                    yield str(Path(folder, name).relative_to(self.root))

    def blobs(self) -> Iterator[Path]:
        """Yield all blobs."""
        for path in sorted((self.root / "blobs" / "sha256").glob("??/*")):
            if _HEX.fullmatch(path.name):
                yield path

    def forgotten_parts(self, now: float) -> Iterator[Path]:
        """Yield the files that writers have left which were killed."""
        with suppress(OSError):
            for path in (self.root / PARTS).iterdir():
                if now - path.lstat().st_mtime > LONG_AGO:
                    yield path


class Part:
    """A file of a folder's cache while it is written; it comes into its place by `place`, and goes otherwise."""

    def __init__(self, root: Path) -> None:
        self._root = root
        folder = root / PARTS
        with errors_of(root):
            folder.mkdir(parents=True, exist_ok=True)
            self._path = folder / f"{os.getpid()}.{time.monotonic_ns()}.{os.urandom(4).hex()}"
            self.file = self._path.open("x+b")

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *of_error: object) -> None:
        with suppress(OSError):  # a full disk fails once more here; the writer has the first error
            self.file.close()
        self._path.unlink(missing_ok=True)

    def digest(self, size: int) -> str:
        """Return the digest of what was written. Raises Odd for another size."""
        self.file.seek(0)
        if os.fstat(self.file.fileno()).st_size != size:
            raise Odd("a blob of it has another size")
        return hashlib.file_digest(self.file, "sha256").hexdigest()

    def content(self, most: int) -> bytes:
        """Return what was written, at most so many bytes."""
        self.file.seek(0)
        return self.file.read(most)

    def place(self, path: str, *, is_blob: bool = False) -> None:
        """Bring the file to disk and into its place; `is_blob`: its digest is that of its name."""
        target = self._root / path
        with errors_of(self._root):
            self.file.flush()
            os.fsync(self.file.fileno())
            os.fchmod(self.file.fileno(), 0o444 if is_blob else 0o644)
            if is_blob:
                os.utime(self.file.fileno(), ns=(MARK, MARK))
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.rename(target)
            flush_folder(target.parent)


def copied(source: BinaryIO, to: BinaryIO, size: int) -> str:
    """Copy at most `size` bytes, and return the digest of what was read. Raises Odd for another size."""
    digest, left = hashlib.sha256(), size
    while chunk := source.read(min(CHUNK, left + 1)):
        left -= len(chunk)
        if left < 0:
            break
        digest.update(chunk)
        to.write(chunk)
    if left:
        raise Odd("a blob of it has another size")
    return digest.hexdigest()
