"""The tree under a look inside, where an image is no disk: an archive, a squashfs, an OCI image, a SIF file.

It is unpacked into a folder, without devices; the compression is told by the first bytes.

Runs beside `look.py` with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from cc_images.boottest.inside import layers
else:  # a script has no package
    import layers

READERS: dict[bytes, tuple[str, ...]] = {
    b"\x28\xb5\x2f\xfd": ("zstd", "-q", "-d", "-c"),
    b"\x1f\x8b": ("gzip", "-d", "-c"),
    b"\xfd7zXZ": ("xz", "-d", "-c"),
    b"hsqs": ("sqfs2tar",),
}
"""Programs that read a file with these first bytes, and write a tar or cpio archive."""

OCI, SIF = (b"oci-layout\0", b"index.json\0", b"blobs/"), b"#!/usr/bin/env run"
DESCRIPTORS_AT, DESCRIPTOR, PARTITION, MOST = 4096, 585, 0x4004, 48
"""Where SIF's descriptors begin, how large each is, which kind is a partition, and how many there may be."""

CPIO = (b"070701", b"070702")
HEADER = 110
TRAILER = "TRAILER!!!"
CHUNK = 1 << 20

UNTAR = ("tar", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "--anchored", "--exclude=./dev/*",
         "--exclude=dev/*", "-xpf", "-")  # fmt: skip
LONGEST = 1 << 16
"""Bytes of a name, or of a link's target, that are read."""

TOO_LARGE = "its tree is larger than the free room here"

SHARE = 0.9
"""The part of the free room that a tree may take."""


def is_container(image: Path) -> bool:
    """Say whether a file is an OCI archive or a SIF file."""
    with image.open("rb") as file:
        return file.read(32).startswith((*OCI, SIF))


def unpack(image: Path, place: Path) -> tuple[int, list[dict[str, int]]]:
    """Unpack an image into an empty folder; return the bytes of its files, and of caches in each layer.

    Raises OSError.
    """
    with image.open("rb") as file:
        first = file.read(32)
    caches: list[dict[str, int]] = []
    if first.startswith(OCI):
        for part in layers.parts(image, place.parent):
            if caches:
                caches.append(layers.add(part, reader(part), place, room(place)))
            else:
                unpack_one(part, place)
                caches.append(layers.measured(place))
            part.unlink()
    elif first.startswith(SIF):
        part = partition(image, place.parent)
        unpack_one(part, place)
        part.unlink()
        caches.append(layers.measured(place))
    else:
        unpack_one(image, place)
    return sum(each.lstat().st_blocks * 512 for each in place.rglob("*")), caches


def reader(image: Path) -> tuple[str, ...]:
    """Return the program that reads a file as an archive."""
    with image.open("rb") as file:
        first = file.read(8)
    return next((words for magic, words in READERS.items() if first.startswith(magic)), ("cat",))


def unpack_one(image: Path, place: Path) -> None:
    """Unpack one archive or squashfs over what is in a folder."""
    words = reader(image)
    with subprocess.Popen([*words, str(image)], stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        begin = source.stdout.peek(len(CPIO[0]))[: len(CPIO[0])]  # type: ignore[attr-defined]
        if begin in CPIO:
            unpack_cpio(source.stdout, place)
            source.stdout.close()  # what follows the archive is of no interest
        else:
            target = subprocess.Popen([*UNTAR, "-C", str(place)], stdin=subprocess.PIPE, stdout=sys.stderr)
            assert target.stdin is not None
            left = room(place)
            while chunk := source.stdout.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise OSError(0, TOO_LARGE)
                target.stdin.write(chunk)
            target.stdin.close()
            if target.wait() != 0:
                raise OSError(0, "the archive cannot be unpacked")
    if begin not in CPIO and source.returncode != 0:
        raise OSError(0, f"{words[0]} cannot read it")


def partition(image: Path, folder: Path) -> Path:
    """Return the partition of a SIF file from which a container starts, as a file. Raises OSError without one."""
    target = folder / "partition"
    with image.open("rb") as file:
        count, place = struct.unpack_from("<2q", file.read(DESCRIPTORS_AT), 32 + 10 + 3 + 3 + 16 + 24)
        file.seek(max(0, place))
        table = file.read(max(0, min(count, MOST)) * DESCRIPTOR)
        for at in range(0, len(table) - DESCRIPTOR + 1, DESCRIPTOR):
            kind, used = struct.unpack_from("<i?", table, at)
            if used and kind == PARTITION:
                begin, size = struct.unpack_from("<2q", table, at + 17)
                if not 0 <= begin <= begin + size <= os.fstat(file.fileno()).st_size:
                    raise OSError(0, "its partition is outside of the file")
                file.seek(begin)
                with target.open("wb") as copied:
                    copy(file, copied, size)
                return target
    raise OSError(0, "it has no partition with a tree")


def unpack_cpio(source: IO[bytes], place: Path) -> None:
    """Unpack a cpio archive in the "newc" format; rule: the kernel's buffer-format.rst. Raises OSError.

    No name leads out of the folder: links among the folders of a name are refused, as are two dots.
    """
    linked: dict[int, Path] = {}
    while True:
        head = exactly(source, HEADER)
        if head[:6] not in CPIO:
            raise OSError(0, "the archive is damaged")
        inode, mode, uid, gid, links, _, size, *_, length, _ = (int(head[at : at + 8], 16) for at in range(6, 110, 8))
        if length > LONGEST or not (stat.S_ISREG(mode) or size <= LONGEST):
            raise OSError(0, "the archive has a name that is too long")
        name = os.fsdecode(exactly(source, length)[:-1])
        exactly(source, -(HEADER + length) % 4)
        if name == TRAILER:
            return
        path = inside(place, name)
        if path.is_symlink() or path.is_file():  # the later one of a name counts, as for the kernel
            path.unlink()
            linked = {number: each for number, each in linked.items() if each != path}
        if stat.S_ISREG(mode):
            first = linked.setdefault(inode, path) if links > 1 else path
            if first != path:
                os.link(first, path, follow_symlinks=False)
            write(source, path, size, (uid, gid, stat.S_IMODE(mode)))
        else:
            make(path, mode, exactly(source, size))
            if os.path.lexists(path):
                os.chown(path, uid, gid, follow_symlinks=False)
            if stat.S_ISDIR(mode):
                os.chmod(path, stat.S_IMODE(mode))
        exactly(source, -size % 4)


def write(source: IO[bytes], path: Path, size: int, status: tuple[int, int, int]) -> None:
    """Add a file's content, and set its owner, group and mode; a link is not followed. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        copy(source, file, size)
        os.fchown(file.fileno(), *status[:2])
        os.fchmod(file.fileno(), status[2])


def make(path: Path, mode: int, content: bytes) -> None:
    """Make a folder or a link; devices are left out."""
    if stat.S_ISDIR(mode):
        path.mkdir(exist_ok=True)
    elif stat.S_ISLNK(mode):
        path.symlink_to(os.fsdecode(content))


def inside(place: Path, name: str) -> Path:
    """Return the path of a member. Raises OSError for one that leads elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    path = place
    for part in parts:
        if part == ".." or path.is_symlink():
            raise OSError(0, f"the archive leads out of itself at {name[:100]!r}")
        path /= part
    return path


def room(place: Path) -> int:
    """Return the bytes that a tree may take at a place."""
    status = os.statvfs(place)
    return int(status.f_bavail * status.f_frsize * SHARE)


def exactly(source: IO[bytes], size: int) -> bytes:
    """Read so many bytes. Raises OSError when there are fewer."""
    content = source.read(size)
    if len(content) != size:
        raise OSError(0, "the archive ends too early")
    return content


def copy(source: IO[bytes], file: IO[bytes], size: int) -> None:
    """Copy so many bytes. Raises OSError when they leave too little room."""
    if size > room(Path(f"/proc/self/fd/{file.fileno()}")):
        raise OSError(0, TOO_LARGE)
    while size:
        file.write(exactly(source, min(CHUNK, size)))
        size -= min(CHUNK, size)
