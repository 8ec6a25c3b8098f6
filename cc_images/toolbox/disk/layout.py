"""A disk's layout as values: its partitions, their file systems, what is where, and every identifier.

Decided from dib's own description of a layout (`states/block-device/config.json`, which dib makes of the YAML of
`block-device-*`), the size of the disk and the image's key. Pure. Runs alone on Python >= 3.9; knows nothing of
cc_images.

Rules: dib's block_device/level1 (sizes, alignment), level2/mkfs (labels), blockdevice.cmd_writefstab (fstab).
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

MIB = 1 << 20
SECTOR = 512

GPT_TYPES = {
    "8200": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "8300": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "EF00": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "EF02": "21686148-6449-6E6F-744E-656564454649",
}
"""Partition types by sgdisk's codes: swap, Linux, EFI system partition, BIOS boot partition."""

BIOS_BOOT = GPT_TYPES["EF02"]

UNITS = {"": 1, "B": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", 1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}


@dataclass(frozen=True)
class Filesystem:
    """A file system: `kind` is ext4, vfat or swap; `fstab` the last three fields of its line, if it has one."""

    name: str
    kind: str
    label: str
    uuid: str
    """For FAT the serial number, as 8 hexadecimal digits."""
    seed: str
    """What ext4 hashes names of directories with."""
    options: tuple[str, ...] = ()
    mount_point: str = ""
    fstab: tuple[str, ...] = ()


@dataclass(frozen=True)
class Partition:
    """A partition: where it starts and how long it is, in bytes."""

    name: str
    type: str
    start: int
    size: int
    uuid: str
    bootable: bool = False
    filesystem: Filesystem | None = None


@dataclass(frozen=True)
class Disk:
    """A disk: `label` is gpt or mbr, `size` in bytes, `id` the disk's GUID, or its 32-bit signature."""

    label: str
    size: int
    id: str
    partitions: tuple[Partition, ...] = field(default_factory=tuple)

    @property
    def filesystems(self) -> list[Filesystem]:
        """The file systems that hold files, in the order in which they are mounted."""
        found = [each.filesystem for each in self.partitions if each.filesystem and each.filesystem.kind != "swap"]
        return sorted(found, key=lambda each: each.mount_point)

    @property
    def fstab(self) -> str:
        """The text of /etc/fstab."""
        every = [each.filesystem for each in self.partitions if each.filesystem and each.filesystem.fstab]
        lines = [
            f"LABEL={each.label} {'none' if each.kind == 'swap' else each.mount_point} {each.kind} "
            f"{' '.join(each.fstab)}\n"
            for each in sorted(every, key=lambda each: each.mount_point)
        ]
        return "".join(lines)

    @property
    def table(self) -> str:
        """The partition table as sfdisk reads it."""
        head = f"label: {'gpt' if self.label == 'gpt' else 'dos'}\nlabel-id: {self.id}\nunit: sectors\n"
        lines = [head + ("first-lba: 34\n" if self.label == "gpt" else "")]
        for each in self.partitions:
            line = f"start={each.start // SECTOR}, size={each.size // SECTOR}, type={each.type}"
            line += f', uuid={each.uuid}, name="{each.name}"' if self.label == "gpt" else ""
            lines.append(line + (", bootable" if each.bootable else "") + "\n")
        return "".join(lines)


def disk(config: list[dict[str, Any]], size: int, key: str, root_options: str = "") -> Disk:
    """Return the layout that dib would make of its config on a disk of `size` bytes.

    `root_options` are mkfs's for the root file system if the config has none. Raises ValueError for what is not known
    here, and for partitions that do not fit.
    """
    found = {kind: [each[kind] for each in config if kind in each] for kind in sorted({k for e in config for k in e})}
    if unknown := found.keys() - {"local_loop", "partitioning", "mkfs", "mount", "fstab"}:
        raise ValueError(f"the layout has {', '.join(sorted(unknown))}")
    if len(found.get("local_loop", [])) != 1 or len(found.get("partitioning", [])) != 1:
        raise ValueError("the layout has not one disk with one partition table")
    said = found["local_loop"][0].get("size")
    if said is not None:
        size = _size(said, 0)
    (table,) = found["partitioning"]
    made = {each["base"]: each for each in found.get("mkfs", [])}
    mounts = {each["base"]: each for each in found.get("mount", [])}
    lines = {each["base"]: each for each in found.get("fstab", [])}
    align = _size(table.get("align", "1MiB"), 0)
    start, free = align, size - (2 * MIB if table["label"] == "gpt" else align)
    partitions = []
    for number, each in enumerate(table["partitions"]):
        length = wanted = _size(each["size"], free)
        if table["label"] == "gpt":
            length = wanted // MIB * MIB
            kind = GPT_TYPES[str(each.get("type", "8300")).upper()]
        else:
            kind = f"{int(str(each.get('type', '0x83')), 16):x}"
        length = length // SECTOR * SECTOR
        if not 0 < length <= free:
            raise ValueError(f"partition {each['name']} does not fit: {length} of {free} bytes are free")
        partitions.append(
            Partition(
                name=each["name"],
                type=kind,
                start=start,
                size=length,
                uuid=identifier(key, f"partition {number}"),
                bootable=table["label"] == "mbr" and "boot" in each.get("flags", ()),
                filesystem=_filesystem(made.get(each["name"]), mounts, lines, key, root_options),
            )
        )
        end = start + length
        start = -(-end // align) * align
        free = free - wanted if table["label"] == "gpt" else size - start
    own = identifier(key, "disk")
    return Disk(table["label"], size, own if table["label"] == "gpt" else f"0x{own[:8]}", tuple(partitions))


def _filesystem(
    made: dict[str, Any] | None,
    mounts: dict[str, dict[str, Any]],
    lines: dict[str, dict[str, Any]],
    key: str,
    root_options: str,
) -> Filesystem | None:
    if made is None:
        return None
    kind = made["type"]
    label = made.get("label") or made["name"]
    if kind in ("vfat", "fat"):
        kind, label = "vfat", label.upper()
    mount = mounts.get(made["name"], {})
    line = lines.get(mount.get("name", ""))
    words = made.get("opts") or (root_options if made["name"] == "mkfs_root" else "")
    written: tuple[str, ...] = ()
    if line is not None:
        written = (line.get("options", "defaults"), str(line.get("dump-freq", 0)), str(line.get("fsck-passno", 2)))
        written = ("sw", "0", "0") if kind == "swap" else written
    own = str(made.get("uuid") or identifier(key, f"file system {made['name']}"))
    return Filesystem(
        name=made["name"],
        kind=kind,
        label=label,
        uuid=own.replace("-", "")[:8].upper() if kind == "vfat" else own,
        seed=identifier(key, f"hash seed {made['name']}"),
        options=tuple(words.split()),
        mount_point=mount.get("mount_point", ""),
        fstab=written,
    )


def identifier(key: str, name: str) -> str:
    """Return a UUID (version 4 by its form) that follows from a key and a name."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"{key} {name}".encode()).digest()[:16], version=4))


def _size(said: Any, whole: int) -> int:
    """Return a size in bytes as dib understands it: with a unit, or a share of the whole."""
    text = str(said)
    if text.endswith("%"):
        return int(whole * float(text[:-1]) / 100)
    match = re.fullmatch(r"([\d.]*) ?(\w*)", text)
    if match is None or match[2] not in UNITS:
        raise ValueError(f"{text} is no size")
    return int(UNITS[match[2]] * (float(match[1]) if match[1] else 1))
