"""What qemu-img makes up for each VMDK and VHD, numbers, times, identifiers: fixed ones, so that bytes are the same.

Formats: VMware's "Virtual Disk Format 5.0", Microsoft's "Virtual Hard Disk Image Format Specification" 1.0.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from cc_images.model.catalog import Format

CID = b"fffffffe"
"""The content's number in a VMDK; this one stands for a disk that was not opened for writing yet."""

HEAD = 64 << 10
"""Bytes of a VMDK in which its descriptor is."""

FOOTER = 512
"""Bytes of a VHD's footer, which a dynamic disk has at its beginning too."""

IDENTIFIER = uuid.uuid5(uuid.NAMESPACE_URL, "urn:cc-images:vhd").bytes
"""The identifier of a VHD: each copy of an image has the same."""

_TIME, _CHECKSUM, _IDENTIFIER = slice(24, 28), slice(64, 68), slice(68, 84)


def settle_vmdk(file: Path) -> None:
    """Give a VMDK its fixed content number, however many digits it has, and a name that is not the file's here.

    Raises ValueError for a file that has no descriptor.
    """
    with file.open("r+b") as disk:
        head = disk.read(HEAD)
        begins = head.find(b"# Disk DescriptorFile")
        if begins < 0:
            raise ValueError(f"{file.name} has no descriptor of a VMDK")
        text = head[begins : head.index(b"\0", begins)]
        settled = re.sub(rb"^CID=[0-9a-f]{1,8}$", b"CID=" + CID, text, flags=re.MULTILINE)
        settled = re.sub(rb'^(RW \d+ SPARSE) "[^"\n]*"$', rb'\1 "disk.vmdk"', settled, flags=re.MULTILINE)
        disk.seek(begins)
        disk.write(settled.ljust(len(text), b"\0"))


def settle_vhd(file: Path) -> None:
    """Give a VHD a fixed time and identifier, in its footer and in the copy of that. Raises ValueError for others."""
    with file.open("r+b") as disk:
        disk.seek(-FOOTER, 2)
        footer = bytearray(disk.read(FOOTER))
        if footer[:8] != b"conectix":
            raise ValueError(f"{file.name} has no footer of a VHD")
        footer[_TIME], footer[_IDENTIFIER], footer[_CHECKSUM] = bytes(4), IDENTIFIER, bytes(4)
        footer[_CHECKSUM] = struct.pack(">I", ~sum(footer) & 0xFFFFFFFF)
        disk.seek(-FOOTER, 2)
        disk.write(footer)
        disk.seek(0)
        if disk.read(8) == b"conectix":
            disk.seek(0)
            disk.write(footer)


SETTLE: Mapping[Format, Callable[[Path], None]] = {Format.VMDK: settle_vmdk, Format.VHD: settle_vhd}
"""What is done to a file in a format before anybody sees it."""
