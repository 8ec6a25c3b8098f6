"""The members of a tree that is a tar, by zstd or plain, one after the other."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from cc_images.errors import Interrupted

CHUNK = 1 << 20

ZSTD = b"\x28\xb5\x2f\xfd"
"""The first bytes of a zstd frame (RFC 8878, section 3.1.1)."""

KINDS = {
    tarfile.REGTYPE: 0o100000,
    tarfile.AREGTYPE: 0o100000,
    tarfile.LNKTYPE: 0o100000,
    tarfile.SYMTYPE: 0o120000,
    tarfile.CHRTYPE: 0o020000,
    tarfile.BLKTYPE: 0o060000,
    tarfile.DIRTYPE: 0o040000,
    tarfile.FIFOTYPE: 0o010000,
}
"""Kinds of files, as stat(2) has them."""


def members(tree: Path, stop: threading.Event) -> Iterator[tuple[str, tarfile.TarInfo, BinaryIO | None]]:
    """Yield name, description and, of a regular file, the content of each member. Raises Interrupted."""
    with _opened(tree) as tar:
        for member in tar:
            if stop.is_set():
                raise Interrupted("the conversion was stopped")
            if member.type in KINDS:
                content = tar.extractfile(member) if member.isreg() else None
                yield plain_name(member.name), member, cast("BinaryIO | None", content)


@dataclass(slots=True)
class Heeding:
    """A file that is read until somebody asks to stop. Raises Interrupted."""

    file: BinaryIO
    stop: threading.Event

    def read(self, size: int = -1) -> bytes:
        """Read."""
        if self.stop.is_set():
            raise Interrupted("the conversion was stopped")
        return self.file.read(size)


def plain_name(name: str) -> str:
    """Return a member's name without what stands for the root."""
    return name.removeprefix("./").strip("/") or "."


@contextmanager
def _opened(tree: Path) -> Iterator[tarfile.TarFile]:
    with tree.open("rb") as file:
        packed = file.read(4) == ZSTD
        file.seek(0)
        plain = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) if packed else file
        with tarfile.open(fileobj=cast("BinaryIO", plain), mode="r|", bufsize=CHUNK) as tar:
            yield tar
