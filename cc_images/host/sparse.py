"""Sparse files: which parts of them hold bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator


def extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of an open file that are no holes, as (first byte, byte after the last), in order.

    On a file system that knows no holes that is the whole file.
    """
    position = 0
    while position < size:
        try:
            begin = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # nothing but a hole to the end
            return
        end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        yield begin, min(end, size)
        position = end


def chunks(descriptor: int, size: int, length: int) -> Iterator[int]:
    """Yield the numbers of the chunks of a file, `length` bytes each, that hold bytes, in order."""
    after = 0
    for begin, end in extents(descriptor, size):
        first = max(begin // length, after)
        after = max(-(-end // length), after)
        yield from range(first, after)
