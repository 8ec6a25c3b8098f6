"""A tree as a layer of a container image: the same bytes from the same tree, and nothing of this host in them.

Names in the order of the tree, whole seconds, numeric owners, no devices, and of pax headers only those that names and
extended attributes need (OCI image-spec, layer.md). Of a file with several names the first one has the content.
"""

from __future__ import annotations

import hashlib
import tarfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from cc_images.clock import EPOCH
from cc_images.errors import Interrupted
from cc_images.host.containers.members import KINDS, members, plain_name

ATTRIBUTE = "SCHILY.xattr."

MOST_PARTS = 96
"""Parts of one layer."""

MOST_LAYERS = 120
"""Layers of an image with those of its base: engines take 127, and images may be put upon it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A file or link that a format adds to a tree."""

    name: str
    content: bytes = b""
    target: str = ""
    """Of a link: the name that it leads to."""
    mode: int = 0o644
    yields: bool = False
    """Whether the tree's own file of that name stays instead."""

    def member(self) -> tarfile.TarInfo:
        """Return it as tar has it; without content and target it is a folder."""
        made = tarfile.TarInfo(self.name)
        made.mtime, made.mode, made.size = EPOCH, self.mode, len(self.content)
        if self.target:
            made.type, made.linkname, made.mode = tarfile.SYMTYPE, self.target, 0o777
        elif self.name.endswith("/"):
            made.type, made.name = tarfile.DIRTYPE, self.name.rstrip("/")
        return made


@dataclass(slots=True)
class Digested:
    """A file that is written, with its digest."""

    file: BinaryIO
    size: int = 0
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> int:
        """Write."""
        self.sha256.update(data)
        self.size += len(data)
        return self.file.write(data)


def write_layer(tree: Path, target: Path, stop: threading.Event, added: Sequence[Added] = ()) -> str:
    """Write a tree as an uncompressed layer, with files of a format after it; return the layer's sha256."""
    with target.open("wb") as file:
        digested = Digested(file)
        new = {each.name.rstrip("/") for each in added if not each.yields}
        there = set[str]()
        with tarfile.open(fileobj=digested, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as tar:  # type: ignore[call-overload]
            for name, member, content in members(tree, stop):
                there.add(name)
                if name == "." or name in new or member.ischr() or member.isblk():
                    continue
                tar.addfile(_plain(member, name), content)
            for each in added:
                if each.yields and each.name.rstrip("/") in there:
                    continue
                made = each.member()
                tar.addfile(made, BytesIO(each.content) if made.isreg() else None)
        return digested.sha256.hexdigest()


def write_normal(plain: Path, target: Path, stop: threading.Event, left_out: Collection[str] = ()) -> str:
    """Write an uncompressed layer that another program has made as the same bytes for the same files.

    Names come in their order, and of a file with several names the first one has the content. Times are at most EPOCH,
    since what a build writes has the time of the build. Returns the layer's sha256; empty for one without files.
    """
    with tarfile.open(plain, "r:") as source:
        found = _found(source)
        chosen = _chosen(found, left_out)
        digest = _write_members(source, found, chosen, target, stop)
    return digest if chosen else ""


def write_parts(
    plain: Path,
    target: Path,
    stop: threading.Event,
    left_out: Collection[str] = (),
    apart: str = "",
    most: int = MOST_PARTS,
) -> Iterator[int]:
    """Write a layer as `write_normal` does, but in several parts, each in place of the one before; yield their numbers.

    `apart` is a pattern of folders, such as `opt/software/*/*`: each folder that matches is a part of its own, so that
    images which have the same folder have the same layer. The first part has all else, if there is anything, and the
    smallest folders where there are more than `most`.
    """
    with tarfile.open(plain, "r:") as source:
        found = _found(source)
        parts: dict[str, list[str]] = {"": []}
        for name in _chosen(found, left_out):
            parts.setdefault(_part(name, apart), []).append(name)
        for each in _too_many(parts, found, most):
            parts[""] += parts.pop(each)
        for number, names in enumerate(filter(None, parts.values())):
            _write_members(source, found, names, target, stop)
            yield number


def _too_many(parts: Mapping[str, list[str]], found: Mapping[str, tarfile.TarInfo], most: int) -> list[str]:
    """Return the smallest parts beyond those that may be."""
    sizes = {each: sum(found[name].size for name in names) for each, names in parts.items() if each}
    return sorted(sorted(sizes, key=lambda each: (-sizes[each], each))[most:])


def _part(name: str, apart: str) -> str:
    """Return the folder that matches a pattern and holds a name, or is it; empty if there is none."""
    wanted, parts = apart.split("/"), name.split("/")
    matches = len(parts) >= len(wanted) and all(map(fnmatchcase, parts, wanted))
    return "/".join(parts[: len(wanted)]) if matches else ""


def _found(source: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    return {plain_name(each.name): each for each in source if each.type in KINDS}


def _chosen(found: Mapping[str, tarfile.TarInfo], left_out: Collection[str]) -> list[str]:
    """Return the names that are kept, in their order."""
    chosen = [name for name, each in found.items() if name not in {".", *left_out} and not _is_shown(name, each)]
    return sorted(chosen, key=lambda name: name.split("/"))


def _write_members(
    source: tarfile.TarFile,
    found: Mapping[str, tarfile.TarInfo],
    names: Iterable[str],
    target: Path,
    stop: threading.Event,
) -> str:
    """Write members, in this order, as a layer; return its sha256."""
    first: dict[str, str] = {}
    with target.open("wb") as file:
        digested = Digested(file)
        with tarfile.open(fileobj=digested, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as tar:  # type: ignore[call-overload]
            for name in names:
                member = found[name]
                if stop.is_set():
                    raise Interrupted("the conversion was stopped")
                if member.ischr() or member.isblk():
                    continue
                origin = plain_name(member.linkname) if member.islnk() else name
                whole = found.get(origin, member)
                kept = _plain(whole, name)
                kept.mtime = min(int(whole.mtime), EPOCH)
                if (before := first.setdefault(origin, name)) != name:
                    kept.type, kept.linkname, kept.size = tarfile.LNKTYPE, before, 0
                tar.addfile(kept, source.extractfile(whole) if kept.isreg() else None)
    return digested.sha256.hexdigest()


def _is_shown(name: str, member: tarfile.TarInfo) -> bool:
    """Say whether a file is only the place at which builders show the host's own file of that name."""
    return name in ("etc/hosts", "etc/resolv.conf", "etc/hostname") and member.isreg() and not member.size


def _plain(member: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    """Return a member without what differs from host to host."""
    kept = tarfile.TarInfo(name)
    kept.type, kept.mode, kept.uid, kept.gid = member.type, member.mode, member.uid, member.gid
    kept.mtime, kept.size = int(member.mtime), member.size
    kept.linkname = plain_name(member.linkname) if member.islnk() else member.linkname
    kept.pax_headers = {key: value for key, value in member.pax_headers.items() if key.startswith(ATTRIBUTE)}
    return kept
