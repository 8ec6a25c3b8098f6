"""Frames of a qcow2 file that was written before: a cluster that has not changed need not be compressed again.

To compress costs many times what it costs to decompress and compare. What is damaged in the file, or not as our writer
writes it, only is no help.
"""

from __future__ import annotations

import os
import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from cc_images.outputs.qcow2_layout import (
    BITS,
    CLUSTER,
    COMPRESSED,
    ENTRIES,
    HEADER,
    MAGIC,
    OFFSET_BITS,
    ONE_REFERENCE,
    SECTOR,
    ZSTD,
)


@dataclass(slots=True)
class Frames:
    """The compressed clusters of a file, by their numbers; from any thread."""

    descriptor: int = -1
    tables: dict[int, array[int]] = field(default_factory=dict)
    """L2 tables by their place in the L1 table."""
    _local: threading.local = field(default_factory=threading.local)

    @classmethod
    @contextmanager
    def of(cls, file: Path | None) -> Iterator[Frames]:
        """Open a file; without one, and for any that is no qcow2 with zstd, there are no frames."""
        found = cls()
        with suppress(OSError):
            found.descriptor = os.open(file, os.O_RDONLY) if file is not None else -1
        try:
            if found.descriptor >= 0:
                with suppress(OSError, OverflowError):  # places that no file has
                    found.tables = _tables(found.descriptor)
            yield found
        finally:
            if found.descriptor >= 0:
                os.close(found.descriptor)

    def of_cluster(self, number: int, content: bytes) -> bytes:
        """Return the frame of a cluster that has this content there; else nothing."""
        place, within = divmod(number, ENTRIES)
        table = self.tables.get(place)
        entry = table[within] if table is not None else 0
        if not entry & COMPRESSED:
            return b""
        begin = entry & ((1 << OFFSET_BITS) - 1)
        sectors = (entry & (COMPRESSED - 1)) >> OFFSET_BITS
        if not hasattr(self._local, "zstd"):
            self._local.zstd = zstandard.ZstdDecompressor()
        try:
            packed = os.pread(self.descriptor, (begin // SECTOR + sectors + 1) * SECTOR - begin, begin)
            frame = self._local.zstd.decompressobj()
            if frame.decompress(packed) != content or not frame.eof:
                return b""
        except (OSError, zstandard.ZstdError):
            return b""
        return packed[: len(packed) - len(frame.unused_data)]


def _tables(file: int) -> dict[int, array[int]]:
    """Return the L2 tables of a qcow2 file; none of a file that is not as our writer's are."""
    block = os.pread(file, HEADER.size, 0)
    if len(block) < HEADER.size:
        return {}
    header = HEADER.unpack(block)
    magic, bits, entries, level1, compression = (header[place] for place in (0, 4, 7, 8, -1))
    if (magic, bits, compression) != (MAGIC, BITS, ZSTD) or entries > ENTRIES:
        return {}
    places = _numbers(os.pread(file, entries * 8, level1))
    found = {}
    for place, entry in enumerate(places):
        if entry:
            table = _numbers(os.pread(file, CLUSTER, entry & ~ONE_REFERENCE))
            if len(table) == ENTRIES:
                found[place] = table
    return found


def _numbers(content: bytes) -> array[int]:
    numbers = array("Q", content[: len(content) // 8 * 8])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
