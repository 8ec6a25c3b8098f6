"""GRUB for BIOS, written into a raw disk: its boot image into the first sector, its core image where there is room.

What grub-bios-setup does through devices, on a file. Rules: GRUB's include/grub/i386/pc/boot.h (offsets) and its
manual, "BIOS installation". Runs alone; knows nothing of cc_images.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

SECTOR = 512
CODE_END = 0x1B8
"""Where the boot code of a first sector ends, and the disk's signature and partition table begin."""
KERNEL_SECTOR = 0x5C
"""Where the boot image has the sector of the core image, 64 bits."""
BOOT_DRIVE = 0x64
"""Where it has the drive of the core image; 0xff is the one that the BIOS has booted from."""
DRIVE_CHECK = 0x66
"""Two bytes of code that become no-ops for hard disks: BIOSes that name a wrong drive."""
BLOCK_LIST = SECTOR - 12
"""Where the core image's first sector has the start (64 bits) and length (16) of the rest."""


def install(disk: BinaryIO, boot: bytes, core: bytes, start: int, room: int) -> None:
    """Write GRUB into a disk; the core image goes to byte `start`, where `room` bytes are free.

    Raises ValueError for images that are not GRUB's, or do not fit.
    """
    if len(boot) != SECTOR or boot[SECTOR - 2 :] != b"\x55\xaa":
        raise ValueError("boot.img is no boot image")
    if len(core) > room:
        raise ValueError(f"GRUB's core image has {len(core)} bytes, and there is room for {room}")
    first = start // SECTOR
    code = bytearray(boot[:CODE_END])
    struct.pack_into("<Q", code, KERNEL_SECTOR, first)
    code[BOOT_DRIVE] = 0xFF
    code[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"
    padded = bytearray(core + bytes(-len(core) % SECTOR))
    struct.pack_into("<QH", padded, BLOCK_LIST, first + 1, len(padded) // SECTOR - 1)
    disk.seek(0)
    disk.write(code)
    disk.seek(SECTOR - 2)
    disk.write(boot[SECTOR - 2 :])
    disk.seek(start)
    disk.write(padded)
