"""The disk under a look inside: its partitions, and their file systems mounted read-only.

By the kernel, on loop devices; where root is an ordinary user of the host (the variable CC_IMAGES_ROOTLESS), by FUSE.

Runs beside `look.py` with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

MOUNT_OPTIONS = {
    "ext2": "errors=continue",
    "ext3": "noload,errors=continue",
    "ext4": "noload,errors=continue",
    "xfs": "norecovery,nouuid",
    "btrfs": "rescue=nologreplay",
}
BY_FUSE = {"ext2": "fuse2fs", "ext3": "fuse2fs", "ext4": "fuse2fs", "vfat": "fusefat"}
ROOTLESS = bool(os.environ.get("CC_IMAGES_ROOTLESS"))
PATIENCE = 20.0
"""Seconds in which a FUSE export must be there."""

HOSTS_ROOT = 3
"""The exit code that asks for the host's own root: without it this image cannot be read."""

LOOP_CONFIGURE, LOOP_CTL_GET_FREE = 0x4C0A, 0x4C82
SUPERBLOCK = 1024
"""Where it is in ext2 to ext4; its fields are in the kernel's Documentation/filesystems/ext4/super.rst."""

RECOVER = 4
"""The incompatible feature of a file system that was in use."""

READ_ONLY, AUTOCLEAR = 1, 4
SECTOR = 512


def as_raw(image: Path, disk_format: str, folder: Path) -> str:
    """Return a file that reads as the raw disk."""
    if disk_format == "raw":
        return str(image)
    shown = folder / "disk"
    shown.touch()
    file = {"driver": "file", "node-name": "file", "read-only": True, "filename": str(image)}
    disk = {"driver": disk_format, "node-name": "disk", "read-only": True, "file": "file", "backing": None}
    if exported([file, disk], shown):
        return str(shown)
    print("no FUSE: the disk is converted", file=sys.stderr)
    converted = folder / "disk.raw"
    subprocess.run(
        ["qemu-img", "convert", "-f", disk_format, "-O", "raw", image, converted], check=True, stdout=sys.stderr
    )
    return str(converted)


def exported(nodes: list[dict[str, Any]], shown: Path) -> bool:
    """Show the last of QEMU's block nodes as a file, by FUSE, as long as the sandbox lives; say whether it is there."""
    if not shutil.which("qemu-storage-daemon"):
        return False
    export = {"type": "fuse", "id": "fuse", "node-name": "disk", "mountpoint": str(shown), "writable": False}
    options = [word for node in nodes for word in ("--blockdev", json.dumps(node))]
    command = ["qemu-storage-daemon", *options, "--export", json.dumps(export)]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        if os.path.ismount(shown):
            return True
        time.sleep(0.01)
    server.kill()
    return False


def table(raw: str, facts: Facts) -> list[dict[str, Any]]:
    """Return the disk's partitions; one without a table is taken for one file system."""
    said = subprocess.run(["sfdisk", "--json", raw], capture_output=True, text=True)
    if said.returncode != 0:
        whole = {"number": 0, "type": "", "start": 0, "size": os.stat(raw).st_size, "part": "", "name": ""}
        return [described(raw, whole)]
    listed = {"partitions": [], **json.loads(said.stdout)["partitiontable"]}
    facts["disk"]["table"] = listed["label"]
    sector = int(listed.get("sectorsize", SECTOR))
    found = []
    for entry in listed["partitions"]:
        number = int(re.search(r"\d+\Z", entry["node"])[0])  # type: ignore[index]
        place = {
            "number": number,
            "type": entry["type"],
            "start": entry["start"] * sector,
            "size": entry["size"] * sector,
            "part": entry.get("uuid", ""),
            "name": entry.get("name", ""),
        }
        found.append(described(raw, place))
    return found


def described(raw: str, place: dict[str, Any]) -> dict[str, Any]:
    """Return a partition with the kind and label of its file system."""
    command = ["blkid", "-p", "-o", "export", "-O", str(place["start"]), "-S", str(place["size"]), raw]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    seen = dict(line.partition("=")[::2] for line in said.splitlines())
    return place | {name: seen.get(key, "") for name, key in (("kind", "TYPE"), ("label", "LABEL"), ("uuid", "UUID"))}


def by_size(partitions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those with a Linux file system, the largest first."""
    return sorted((each for each in partitions if each["kind"] in MOUNT_OPTIONS), key=lambda each: -each["size"])


def mounted(raw: str, partition: dict[str, Any], place: Path, troubles: list[str]) -> bool:
    """Mount a partition read-only at `place` if it is a root file system, and say so; note why it cannot be mounted."""
    said = show(raw, partition, str(place))
    if said.returncode != 0:
        troubles.append(" ".join((said.stderr or said.stdout).split()).replace(str(place), "the root"))
        return False
    if os.path.lexists(place / "etc/os-release"):
        return True
    subprocess.run(["umount", str(place)], check=True, stdout=sys.stderr)
    return False


def mount_others(
    raw: str, partitions: list[dict[str, Any]], root: dict[str, Any], place: Path, whole: bool
) -> tuple[list[str], list[str]]:
    """Mount the disk's other file systems where the image's fstab wants them; return where, and what cannot be read.

    `whole`: a partition that fstab does not name is looked into as well, if it has a Linux or FAT file system, and what
    fstab names and the disk does not have is said.
    """
    wanted = fstab(place)
    mounted_at, unread = [], []
    points: list[tuple[str, dict[str, Any]]] = []
    free = [name for name in ("/mnt", "/media", "/srv", "/opt") if whole and all(name != at for _, at in wanted)]
    for each in partitions:
        if each is root or each["kind"] in ("", "swap"):
            continue
        point = next((point for spec, point in wanted if names_partition(spec, each)), "")
        if point in ("", "/") and free:
            point = free.pop(0)
        if not whole and point in ("", "/"):
            continue
        if point in ("", "/") or any(point == other for other, _ in points):
            unread.append(f"partition {each['number']} ({each['kind']}): there is no place left to look into it")
            continue
        points.append((point, each))
    for point, each in sorted(points, key=lambda found: found[0].count("/")):  # what covers another one comes first
        try:
            show_at(raw, each, place, point)
            mounted_at.append(point)
        except OSError as error:
            unread.append(f"partition {each['number']} ({each['kind']}) at {point}: {error.strerror or error}")
    return mounted_at, [*unread, *(absent(wanted, partitions) if whole else [])]


def absent(wanted: list[tuple[str, str]], partitions: list[dict[str, Any]]) -> list[str]:
    """Return what fstab names and the disk does not have."""
    named = ("/dev/", "LABEL=", "UUID=", "PARTUUID=", "PARTLABEL=")
    unread = []
    for spec, point in wanted:
        # The firmware reads /boot/efi first: what is wrong with it is for the boot to say.
        if point == "/boot/efi" or not spec.startswith(named):
            continue
        if not any(names_partition(spec, each) for each in partitions):
            unread.append(f"{spec} at {point}: it is no partition of the disk")
    return unread


def fstab(place: Path) -> list[tuple[str, str]]:
    """Return what an image mounts and where, the nearest to its root first. No link is followed."""
    found = []
    try:
        folder = os.open(inner(place, "/etc"), os.O_RDONLY)
        file = os.open("fstab", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        lines = os.read(file, 1 << 20).decode(errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and not words[0].startswith("#") and words[1].startswith("/"):
            found.append((words[0], os.path.normpath(words[1])))
    return sorted(found, key=lambda each: each[1])


def names_partition(spec: str, partition: dict[str, Any]) -> bool:
    """Say whether a word of fstab means a partition."""
    key, _, value = spec.partition("=")
    value = value.strip('"')
    known = {"LABEL": "label", "UUID": "uuid", "PARTUUID": "part", "PARTLABEL": "name"}
    if key in known:
        return bool(value) and str(partition[known[key]]).lower() == value.lower()
    found = re.fullmatch(r"/dev/(?:[a-z]+|[a-z0-9]+p)(\d+)", spec)
    return found is not None and int(found[1]) == partition["number"]


def show_at(raw: str, partition: dict[str, Any], place: Path, point: str) -> None:
    """Mount a file system read-only at a folder of the tree, which no link leads out of. Raises OSError."""
    folder = inner(place, point)
    said = show(raw, partition, folder)
    if said.returncode != 0:
        raise OSError(0, " ".join((said.stderr or said.stdout).split())[-200:].replace(folder, point) or "mount failed")


def show(raw: str, partition: dict[str, Any], folder: str) -> subprocess.CompletedProcess[str]:
    """Try to mount a file system read-only at a folder."""
    kind = partition["kind"]
    if ROOTLESS and (not shutil.which(BY_FUSE.get(kind, "")) or needs_recovery(raw, partition)):
        raise SystemExit(HOSTS_ROOT)
    device = attached(raw, partition["start"], partition["size"])
    options = ",".join(filter(None, ("ro,nosuid,nodev,noexec", MOUNT_OPTIONS.get(kind, ""))))
    by_kernel = ["mount", "-t", kind, "-o", options, device, folder]
    by_fuse = [BY_FUSE.get(kind, ""), "-o", "ro,allow_other", device, folder]
    said = subprocess.run(by_fuse if ROOTLESS else by_kernel, capture_output=True, text=True)
    if said.returncode != 0 and not ROOTLESS and kind == "vfat" and shutil.which("fusefat"):
        said = subprocess.run(by_fuse, capture_output=True, text=True)
    return said


def superblock(raw: str, partition: dict[str, Any], *places: int) -> list[int]:
    """Return fields of an ext file system's superblock, each of 32 bits, by their places."""
    with open(raw, "rb") as file:
        file.seek(partition["start"] + SUPERBLOCK)
        block = file.read(1024).ljust(1024, b"\0")
    return [struct.unpack_from("<I", block, place)[0] for place in places]


def needs_recovery(raw: str, partition: dict[str, Any]) -> bool:
    """Say whether a journal is to be replayed yet, as after a copy of a running system's disk: fuse2fs refuses it."""
    return partition["kind"].startswith("ext") and bool(superblock(raw, partition, 0x60)[0] & RECOVER)


def room(raw: str, partition: dict[str, Any], place: Path) -> tuple[int, int]:
    """Return the size of a mounted file system and what is used of it, in bytes, as the kernel counts."""
    inside = os.statvfs(place)
    size, free = inside.f_blocks * inside.f_frsize, inside.f_bfree * inside.f_frsize
    if ROOTLESS and partition["kind"].startswith("ext"):  # fuse2fs takes less for the file system's own than the kernel
        low, high, own, bits, cluster = superblock(raw, partition, 4, 0x150, 0x248, 0x18, 0x1C)
        own <<= max(cluster - bits, 0)
        size = (low + (high << 32) - own) * inside.f_frsize if own else size
    return size, size - free


def inner(place: Path, path: str) -> str:
    """Return a name of a folder below `place` that holds as long as this process lives. Raises OSError for links."""
    folder = os.open(place, os.O_PATH | os.O_DIRECTORY)
    for part in path.strip("/").split("/"):
        if part:
            folder = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    return f"/proc/{os.getpid()}/fd/{folder}"


def attached(raw: str, start: int, size: int) -> str:
    """Attach a part of a file to a read-only loop device that goes away with this process and its mounts.

    Without the host's own root it is a file that shows the part.
    """
    if ROOTLESS:
        shown = Path(tempfile.mkdtemp(), "partition")
        shown.touch()
        file = {"driver": "file", "node-name": "file", "read-only": True, "filename": raw}
        window = {"driver": "raw", "node-name": "disk", "read-only": True, "file": "file"}
        if exported([file, window | {"offset": start, "size": size}], shown):
            return str(shown)
        raise SystemExit(HOSTS_ROOT)
    backing = os.open(raw, os.O_RDONLY)
    control = os.open("/dev/loop-control", os.O_RDWR)
    # struct loop_config with its loop_info64, see linux/loop.h: offset, size limit and flags are set
    status = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, start, size, 0, 0, 0, READ_ONLY | AUTOCLEAR, b"", b"", b"", 0, 0)
    for _ in range(200):
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        path = f"/dev/loop{number}"
        if not os.path.exists(path):
            os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(7, number))
        loop = os.open(path, os.O_RDONLY)  # stays open, else the device would go away at once
        try:
            fcntl.ioctl(loop, LOOP_CONFIGURE, struct.pack("=2I", backing, 0) + status + bytes(64))
        except OSError:  # another process was faster
            os.close(loop)
            time.sleep(0.02)
            continue
        return path
    raise SystemExit("no free loop device")
