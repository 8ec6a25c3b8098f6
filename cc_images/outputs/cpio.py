"""A tree as a cpio archive in the format that kernels unpack into memory ("newc"), and the kernel in it.

Source of the format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Of a file with several
names the kernel takes the content that comes first, and links the others to it if each entry says that there are more.
"""

from __future__ import annotations

import re
import tarfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cc_images.errors import CCImagesError, Reason
from cc_images.host.containers.members import CHUNK, KINDS, members, plain_name

MOST = (1 << 32) - 1
"""Bytes of a file that the format can tell of."""

KERNEL = re.compile(r"boot/vmlinu[xz]-\S+\Z")

LEFT_OUT = "boot/"
"""The beginning of the names of files that serve a boot loader alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The names in a tree that matter to a ramdisk."""

    kernels: tuple[str, ...]
    has_init: bool
    linked: frozenset[str]
    """Files that other names are linked to."""


def kernel(tree: Path, target: Path, stop: threading.Event) -> None:
    """Write the newest kernel of a tree to a file. Raises CCImagesError when there is none."""
    kernels = summary(tree, stop).kernels
    if not kernels:
        raise CCImagesError(
            "the tree has no kernel in /boot, and a ramdisk needs one",
            hint="add the distribution's kernel to the image's packages, such as linux-image-amd64",
            reason=Reason.NO_RESULT,
        )
    newest = max(kernels, key=_by_version)
    for name, member, content in members(tree, stop):
        if name == newest and content is not None:
            with target.open("wb") as file:
                _copy(content, file, member.size)
            return


def archive(tree: Path, target: Path, stop: threading.Event) -> None:
    """Write a tree without /boot as a cpio archive; its init gets the name /init, unless it has one."""
    found = summary(tree, stop)
    inodes: dict[str, int] = {}
    with target.open("wb") as file:
        for number, (name, member, content) in enumerate(members(tree, stop), start=1):
            if name.startswith(LEFT_OUT) and not member.isdir():
                continue
            origin = plain_name(member.linkname) if member.islnk() else name
            if (origin.startswith(LEFT_OUT) and member.islnk()) or member.size > MOST:
                raise CCImagesError(
                    f"{name} cannot be in a ramdisk: it is larger than 4 GiB, or a second name of a file in /boot",
                    hint="leave the package out that has it",
                    reason=Reason.NO_RESULT,
                )
            inodes.setdefault(origin, number)
            link = member.linkname.encode(errors="surrogateescape") if member.issym() else b""
            size = member.size if content is not None else len(link)
            links = 2 if member.isdir() or member.islnk() or name in found.linked else 1
            _begin(file, name, member, inodes[origin], links, size)
            if content is not None:
                _copy(content, file, size)
            _pad(file, link, size)
        if not found.has_init:
            init = tarfile.TarInfo("init")
            init.type, init.mode = tarfile.SYMTYPE, 0o777
            init.linkname = "sbin/init"
            _begin(file, "init", init, max(inodes.values(), default=0) + 1, 1, len(init.linkname))
            _pad(file, init.linkname.encode(), len(init.linkname))
        _begin(file, "TRAILER!!!", None, 0, 1, 0)


def summary(tree: Path, stop: threading.Event) -> Summary:
    """Return the names in a tree that matter to a ramdisk."""
    kernels, linked, has_init = [], set(), False
    for name, member, _ in members(tree, stop):
        has_init |= name == "init"
        if KERNEL.match(name) and member.isreg():
            kernels.append(name)
        if member.islnk():
            linked.add(plain_name(member.linkname))
    return Summary(kernels=tuple(kernels), has_init=has_init, linked=frozenset(linked))


def _by_version(name: str) -> list[tuple[int, str]]:
    """Return what sorts names by the numbers in them."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name)]


def _begin(file: BinaryIO, name: str, member: tarfile.TarInfo | None, inode: int, links: int, size: int) -> None:
    """Write the header of an entry and its name, each part filled up to four bytes."""
    path = name.encode(errors="surrogateescape") + b"\0"
    mode, uid, gid, time, device = 0, 0, 0, 0, (0, 0)
    if member is not None:
        mode, uid, gid, time = KINDS[member.type] | member.mode & 0o7777, member.uid, member.gid, int(member.mtime)
        device = (member.devmajor, member.devminor) if member.ischr() or member.isblk() else (0, 0)
    fields = (inode, mode, uid, gid, links, time, size, 0, 0, *device, len(path), 0)
    file.write(b"070701" + b"".join(b"%08X" % (each & 0xFFFFFFFF) for each in fields) + path)
    file.write(b"\0" * (-(110 + len(path)) % 4))


def _pad(file: BinaryIO, content: bytes, size: int) -> None:
    """Write the content of a link, and fill an entry's content of `size` up to four bytes."""
    file.write(content + b"\0" * (-size % 4))


def _copy(content: BinaryIO, file: BinaryIO, size: int) -> None:
    """Copy exactly so many bytes. Raises OSError for a tree that ends before."""
    while size:
        chunk = content.read(min(CHUNK, size))
        if not chunk:
            raise OSError(0, "the tree ends in the middle of a file")
        file.write(chunk)
        size -= len(chunk)
