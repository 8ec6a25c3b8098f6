"""qcow2 files with clusters compressed by zstd: the same bytes from the same disk, whatever the host and its cores.

`qemu-img convert` is told to place clusters as they are ready, by chance, or it compresses on one core. Here clusters
are compressed in parallel and written in order. Rule: QEMU's docs/interop/qcow2, version 3 with 16-bit refcounts.

A file is, in this order, in clusters of 64 KiB:

    header                      ends with the name of the feature bit
    clusters                    compressed ones end to end, as they come; one that does not shrink is stored as it is
    L2 tables                   only those of regions that hold bytes
    L1 table
    refcount blocks and table
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import zstandard

from cc_images.errors import Interrupted
from cc_images.host import sparse
from cc_images.host.files import Written
from cc_images.model.stop import Stop
from cc_images.outputs.qcow2_frames import Frames
from cc_images.outputs.qcow2_layout import (
    BITS,
    CLUSTER,
    COMPRESSED,
    COMPRESSION_BIT,
    COUNTS,
    ENTRIES,
    EXTENSION,
    FEATURE_NAMES,
    HEADER,
    MAGIC,
    OFFSET_BITS,
    ONE_REFERENCE,
    REFCOUNT_ORDER,
    SECTOR,
    ZSTD,
)

LEVEL = 4
"""zstd's level: smaller files than with QEMU's, 3, in as much time."""
BATCH = 32
"""Clusters that one thread takes at once."""

WRITER = f"1, zstandard {zstandard.__version__}, level {LEVEL}"
"""By which a file says that the same cluster has the same frame in it: raised with every change of the bytes."""

_NOTHING = bytes(CLUSTER)


def write(source: Path, target: Path, *, cores: int, stop: Stop, seed: Path | None = None) -> Written:
    """Write a raw disk as qcow2, and return the digests of the file. Raises Interrupted, and OSError for full disks.

    `seed` is a file by the same WRITER: where it has the same cluster at the same place, its frame is taken. The bytes
    are the same without it, at several times the cost.
    """
    size = source.stat().st_size
    with source.open("rb") as raw, target.open("wb") as file, Frames.of(seed) as frames:
        _Writer(file=file, size=size).write(_compressed(raw, size, frames, max(1, cores), stop))
        file.flush()
    return _read_again(target, stop)


@dataclass(frozen=True, slots=True)
class _Cluster:
    """One cluster of a disk that holds bytes: its number, and its bytes, compressed or not."""

    number: int
    content: bytes
    compressed: bool


def _compressed(raw: BinaryIO, size: int, frames: Frames, cores: int, stop: Stop) -> Iterator[_Cluster]:
    """Yield the clusters of a disk that are not empty, in order, compressed on some cores."""
    local = threading.local()

    def compress(numbers: list[int]) -> list[_Cluster]:
        if not hasattr(local, "zstd"):
            local.zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False, write_content_size=True)
        found = []
        for number in numbers:
            content = os.pread(raw.fileno(), CLUSTER, number * CLUSTER)
            content += _NOTHING[len(content) :]
            if content == _NOTHING:
                continue
            small = frames.of_cluster(number, content) or local.zstd.compress(content)
            found.append(_Cluster(number, small, True) if len(small) < CLUSTER else _Cluster(number, content, False))
        return found

    pending: deque[Future[list[_Cluster]]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        try:
            for batch in _batches(sparse.chunks(raw.fileno(), size, CLUSTER)):
                pending.append(pool.submit(compress, batch))
                if len(pending) > 2 * cores:
                    yield from pending.popleft().result()
                if stop.is_set():
                    raise Interrupted("interrupted")
            while pending:
                yield from pending.popleft().result()
        finally:
            for each in pending:
                each.cancel()


def _batches(numbers: Iterator[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for number in numbers:
        batch.append(number)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(slots=True, kw_only=True)
class _Writer:
    """The tables of one file while its clusters are written."""

    file: BinaryIO
    size: int
    """Bytes of the disk."""
    end: int = CLUSTER
    """Where the next byte goes."""
    tables: dict[int, array[int]] = field(default_factory=dict)
    """L2 tables by their place in the L1 table."""
    counts: array[int] = field(default_factory=lambda: array("H", [1]))
    """The refcount of each cluster of the file so far."""

    def write(self, clusters: Iterator[_Cluster]) -> None:
        self.file.write(_NOTHING)  # the header, once the tables' places are known
        for each in clusters:
            place, within = divmod(each.number, ENTRIES)
            table = self.tables.setdefault(place, array("Q", bytes(CLUSTER)))
            table[within] = self._packed(each.content) if each.compressed else self._whole(each.content)
        table_places = {place: self._whole(_big_endian(table)) for place, table in sorted(self.tables.items())}
        level1 = array("Q", (table_places.get(place, 0) for place in range(-(-self.size // (CLUSTER * ENTRIES)))))
        level1_place = self._whole(_big_endian(level1)) if level1 else 0
        refcounts_place, refcount_clusters = self._refcounts()
        self.file.truncate(self.end)
        self.file.seek(0)
        self.file.write(
            _header(self.size, len(level1), level1_place & ~ONE_REFERENCE, refcounts_place, refcount_clusters)
        )

    def _packed(self, content: bytes) -> int:
        """Append a compressed cluster where the last one ended, and return its entry."""
        begin, self.end = self.end, self.end + len(content)
        self.file.write(content)
        last = (self.end - 1) >> BITS
        self.counts.extend([0] * (last + 1 - len(self.counts)))
        for cluster in range(begin >> BITS, last + 1):
            self.counts[cluster] += 1
        more = (self.end - 1) // SECTOR - begin // SECTOR
        return COMPRESSED | more << OFFSET_BITS | begin

    def _whole(self, content: bytes) -> int:
        """Append something that begins at a cluster of its own, and return its entry."""
        place = -(-self.end // CLUSTER) * CLUSTER
        self.file.write(_NOTHING[: place - self.end])
        self.file.write(content)
        self.end = place + len(content)
        self.counts.extend([1] * (-(-self.end // CLUSTER) - len(self.counts)))
        return place | ONE_REFERENCE

    def _refcounts(self) -> tuple[int, int]:
        """Append the refcounts, their own clusters counted; return the place and the clusters of their table."""
        first = -(-self.end // CLUSTER)
        blocks = table = 1
        while first + blocks + table > blocks * COUNTS or blocks > table * ENTRIES:
            blocks = -(-(first + blocks + table) // COUNTS)
            table = -(-blocks // ENTRIES)
        self.counts.extend([1] * (first + blocks + table - len(self.counts)))
        padded = self.counts + array("H", bytes(2 * (blocks * COUNTS - len(self.counts))))
        begin = self._whole(_big_endian(padded)) & ~ONE_REFERENCE
        place = self._whole(_big_endian(array("Q", (begin + number * CLUSTER for number in range(blocks)))))
        self.file.write(_NOTHING[: (begin + (blocks + table) * CLUSTER - self.end) % CLUSTER])
        self.end = begin + (blocks + table) * CLUSTER
        return place & ~ONE_REFERENCE, table


def _header(size: int, entries: int, level1: int, refcounts: int, refcount_clusters: int) -> bytes:
    features = 1 << COMPRESSION_BIT
    fixed = HEADER.pack(
        *(MAGIC, 3, 0, 0, BITS, size, 0, entries, level1, refcounts, refcount_clusters, 0, 0),
        *(features, 0, 0, REFCOUNT_ORDER, HEADER.size, ZSTD),
    )
    name = struct.pack(">BB46s", 0, COMPRESSION_BIT, b"compression type")
    return fixed + EXTENSION.pack(FEATURE_NAMES, len(name)) + name + EXTENSION.pack(0, 0)


def _big_endian(numbers: array[int]) -> bytes:
    turned = array(numbers.typecode, numbers)
    turned.byteswap()
    return turned.tobytes()


def _read_again(file: Path, stop: Stop) -> Written:
    """Return the digests of a file that was just written, both at the same time; it is in memory still.

    They begin with the header, which is written last.
    """

    def digest(name: str) -> str:
        found = hashlib.new(name)
        with file.open("rb") as content:
            while chunk := content.read(1 << 20):
                if stop.is_set():
                    raise Interrupted("interrupted")
                found.update(chunk)
        return found.hexdigest()

    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(digest, ("sha256", "sha512")))
    return Written(digest=digests[0], sha512=digests[1], size=file.stat().st_size)
