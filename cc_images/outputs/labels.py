"""Labels of finished images for containers."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from cc_images.host.containers import archive
from cc_images.model.catalog import Format
from cc_images.outputs.sif import DESCRIPTOR, DESCRIPTORS, DESCRIPTORS_AT, JSON

LARGEST = 1 << 20
"""Bytes that labels may have."""


def labels_of(file: Path, form: Format) -> dict[str, str]:
    """Return the labels of an OCI archive, or of a SIF file of ours; none of other formats."""
    if form is Format.OCI:
        return dict(archive.read(file).configuration.labels)
    return _of_sif(file) if form is Format.SIF else {}


def _of_sif(file: Path) -> dict[str, str]:
    with file.open("rb") as source:
        source.seek(DESCRIPTORS_AT)
        table = source.read(DESCRIPTORS * DESCRIPTOR)
        for start in range(0, len(table) - DESCRIPTOR + 1, DESCRIPTOR):
            kind, used = struct.unpack_from("<i?", table, start)
            begin, size = struct.unpack_from("<2q", table, start + struct.calcsize("<i?III"))
            if used and kind == JSON and 0 < size <= LARGEST:
                source.seek(begin)
                found = json.loads(source.read(size))
                return {str(name): str(value) for name, value in found.items()}
    return {}
