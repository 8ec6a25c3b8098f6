"""The files of elements: which properties count, their digests, and searches for a word.

Digests of large files are remembered by size, times and inode, so that a look at a catalogue does not read gigabytes
again. Nothing is held in memory as a whole.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from cc_images.builders.dib.element_modes import normal
from cc_images.errors import Reason, UserError
from cc_images.host import record_files
from cc_images.host.files import file_digest, write_json
from cc_images.model import record_shapes

LARGE = 1 << 20
"""Bytes from which on the digest of a file is worth remembering."""

REMEMBERED = 5000
"""Files whose digests are remembered."""


class Digests:
    """The digests of files, those of large ones kept in the file `memory`, if any."""

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, str] | None = None
        self._is_new = False

    def of(self, path: Path, status: os.stat_result) -> str:
        """Return the sha256 of a file's content."""
        if status.st_size < LARGE or self._memory is None:
            return file_digest(path)
        key = f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        known = self._loaded(self._memory)
        if key not in known:
            known[key] = file_digest(path)
            self._is_new = True
        return known[key]

    def keep(self) -> None:
        """Write down what is new."""
        if self._memory is not None and self._is_new and self._known is not None:
            kept = dict(list(self._known.items())[-REMEMBERED:])
            with suppress(OSError):  # a full or foreign store must not keep anybody from looking
                write_json(self._memory, record_files.encoded(record_shapes.MemoryShape, kept))
            self._is_new = False

    def _loaded(self, memory: Path) -> dict[str, str]:
        if self._known is None:
            found = record_files.recalled(memory, record_shapes.MemoryShape, memory.parent) or {}
            self._known = {key: digest for key, digest in found.items() if isinstance(digest, str)}
        return self._known


def fingerprints(folder: Path, digests: Digests) -> Iterator[tuple[str, str]]:
    """Yield path and fingerprint of all below an element's folder; an empty folder has a fingerprint, too."""
    yield from _fingerprints(folder, "", (os.path.realpath(folder),), digests)


def _fingerprints(folder: Path, prefix: str, above: tuple[str, ...], digests: Digests) -> Iterator[tuple[str, str]]:
    """Links are followed, as dib does, but never in a circle: `above` has the folder and those above it, resolved.

    Of a mode only the right to execute counts: builds see no more of it (`element_modes`).
    """
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda each: each.name)
    if prefix and not entries:
        yield prefix, "an empty folder"
    for entry in entries:
        path, name = Path(entry.path), prefix + entry.name
        if entry.is_symlink():
            yield f"{name} ->", os.readlink(path)
        if os.path.isdir(path):
            real = os.path.realpath(path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
            if entry.name != "__pycache__" and real not in above:
                yield from _fingerprints(path, f"{name}/", (*above, real), digests)
        elif os.path.isfile(path):
            status = entry.stat()
            yield name, f"{normal(status.st_mode):o} {digests.of(path, status)}"
        elif not entry.is_symlink():
            raise UserError(
                f"{path} is neither a file nor a folder", hint="remove it from the element", reason=Reason.ODD_FILE
            )


def mentions(path: Path, word: str) -> bool:
    """Say whether a file contains a word, not as a part of a longer one."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < LARGE:
            return _has(file.read(), word.encode())
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return _has(text, word.encode())


def _has(text: bytes | mmap.mmap, word: bytes) -> bool:
    return text.find(word) >= 0 and re.search(rb"(?<!\w)" + re.escape(word) + rb"(?!\w)", text) is not None


def digest_of(files: Mapping[str, str]) -> str:
    """Return the sha256 of what `fingerprints` says."""
    import json

    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
