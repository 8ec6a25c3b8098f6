"""Assembly: which disks cc-images puts together itself, and why dib makes the others.

`toolbox/disk` writes a disk from the finished tree: the same bytes each time, without loop devices. It knows
partitions, ext4, FAT and swap, and GRUB as Debian and Ubuntu have it. All else stays with dib.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from cc_images.builders.dib.disk_layout import layout
from cc_images.builders.dib.elements import Elements, own_elements

FILESYSTEMS = frozenset({"ext2", "ext3", "ext4", "vfat", "fat", "swap"})

TYPES = frozenset({"8200", "8300", "EF00", "EF02"})
"""Partition types on GPT disks, by sgdisk's codes."""

PARTS = frozenset({"local_loop", "partitioning"})
"""What a layout may have at its top."""

DEVICES = ("IMAGE_BLOCK_DEVICE", "IMAGE_BLOCK_DEVICES", "DIB_BLOCK_DEVICE_PARAMS_YAML")
"""Variables of dib that lead hooks to devices."""


BLOCK_SIZE = "DIB_BLOCK_SIZE"
"""A variable of dib for disks with other sectors than those of 512 bytes."""


def obstacle(
    elements: Elements, used: tuple[str, ...], said: str | None, kind: str | None, block_size: str | None
) -> str:
    """Return why a disk of these elements cannot be put together here, or an empty string.

    `said` and `kind` are the values of LAYOUT_VARIABLES, `block_size` that of BLOCK_SIZE.
    """
    if "dpkg" not in used:
        return "its packages are not Debian's or Ubuntu's"
    if "bootloader" in used and elements.path("bootloader") != own_elements() / "bootloader":
        return "its element bootloader is not dib's"
    for name in used:
        if (elements.path(name) / "block-device.d").is_dir():
            return f"element {name} makes the disk"
        if name != "bootloader" and (found := [each for each in DEVICES if elements.hooks_mention(name, each)]):
            return f"element {name} reads {found[0]}"
    if block_size not in (None, "", "512"):
        return f"{BLOCK_SIZE} is {block_size}"
    with suppress(OSError, ValueError, RecursionError):
        return next(_unknown(layout(elements, used, said), kind or "ext4"), "")
    return "its layout cannot be read"


def _unknown(found: Any, root: str) -> Iterator[str]:
    """Yield what of a layout is not known here."""
    if not isinstance(found, list) or not all(isinstance(each, dict) and len(each) == 1 for each in found):
        yield "its layout cannot be read"
        return
    parts = [(name, said) for each in found for name, said in each.items()]
    if strange := [name for name, _ in parts if name not in PARTS]:
        yield f"its layout has {strange[0]}"
    if sorted(name for name, _ in parts) != sorted(PARTS):
        yield "its layout is not one disk with one partition table"
        return
    table = next(said for name, said in parts if name == "partitioning")
    is_gpt = table.get("label") == "gpt"
    for each in table.get("partitions", []):
        if is_gpt and str(each.get("type", "8300")).upper() not in TYPES:
            yield f"its layout has a partition of type {each['type']}"
        if not is_gpt and "primary" not in each.get("flags", []):
            yield "its layout has a logical partition"
        if strange := sorted(each.keys() - {"name", "type", "size", "flags", "mkfs"}):
            yield f"its layout has {strange[0]}"
        made = each.get("mkfs")
        if made is not None and made.get("type", root) not in FILESYSTEMS:
            yield f"its layout has {made.get('type', root)}"
