"""The layout of qcow2 files: what `qcow2` writes, and `qcow2_frames` reads again. Rule: QEMU's docs/interop/qcow2."""

from __future__ import annotations

import struct

BITS = 16
CLUSTER = 1 << BITS
SECTOR = 512
HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQIIB7x")
"""Magic, version, backing file's offset and length, cluster bits, disk size, encryption, size and offset of the L1
table, offset and clusters of the refcount table, snapshots, incompatible, compatible and autoclear features, refcount
order, header length, compression type."""
MAGIC = b"QFI\xfb"
EXTENSION = struct.Struct(">II")
FEATURE_NAMES = 0x6803F857
COMPRESSION_BIT = 3
"""The incompatible feature that says that clusters are not compressed by zlib."""
ZSTD = 1
REFCOUNT_ORDER = 4
ONE_REFERENCE = 1 << 63
COMPRESSED = 1 << 62
OFFSET_BITS = 62 - (BITS - 8)
"""How many bits of a compressed cluster's entry are its offset; the sectors that it takes come above."""
ENTRIES = CLUSTER // 8
"""Entries of an L1 or L2 table, or of a refcount table, in one cluster."""
COUNTS = CLUSTER // 2
"""Refcounts in one cluster."""
