"""The contents of a disk image, read without booting it.

Owns how `inside/look.py` is run: in a sandbox of its own, where the image is mounted read-only. An image that refers to
other files of this host is refused: reading it would show what lies there.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import environment, process
from cc_images.host.root import SYSTEM_PATH, Way, remove, require_root, require_tools, way
from cc_images.host.sandbox import NAMESERVER, Sandbox
from cc_images.model.catalog import Json
from cc_images.model.plain_text import all_printable
from cc_images.model.stop import Stop

INSIDE = Path(__file__).parent / "inside"
"""The programs that look into images."""

TIMEOUT = 900.0
"""Seconds that a look may take: a large image, searched for secrets."""

BY_FUSE = ("fuse2fs", "fusefat", "qemu-storage-daemon")
"""What reads the file systems of Debian's and Ubuntu's images for an ordinary user."""

HOSTS_ROOT = 3
"""The exit code by which they ask for the host's own root; see `inside/disk.py`."""

DISKS = {b"QFI\xfb": "qcow2", b"KDMV": "vmdk", b"conectix": "vpc"}
"""The first bytes of disks in formats that are not raw, and QEMU's names of these."""

ARCHIVES = (
    b"\x28\xb5\x2f\xfd",
    b"\x1f\x8b",
    b"\xfd7zXZ",
    b"hsqs",
    b"070701",
    b"070702",
    b"oci-layout\0",
    b"index.json\0",
    b"blobs/",
    b"#!/usr/bin/env run",
)
"""The first bytes of files that hold a tree: compressed archives, squashfs, cpio, OCI, SIF; see `inside/trees.py`."""

MOST_MAGIC = 32


def look(
    image: Path,
    workspace: Path,
    *,
    secrets: Sequence[str] = (),
    sought: Mapping[str, Any] = MappingProxyType({}),
    guards: Path,
    log: BinaryIO,
    stop: threading.Event,
) -> Json:
    """Return what is inside a qcow2 or raw image; see `inside/look.py` for the facts. `workspace` must be empty.

    No file may have one of the `secrets`; `sought` names files and programs of which the facts shall tell.
    Raises UserError for a file that is no such image, or that refers to others.
    """
    told = {"CC_IMAGES_SECRETS": json.dumps(list(secrets)), "CC_IMAGES_SOUGHT": json.dumps(dict(sought))}
    return _run(_Program("look.py", told), image, workspace, guards=guards, log=log, stop=stop)


def unpacked(
    image: Path,
    workspace: Path,
    secrets: Sequence[str],
    *,
    guards: Path,
    log: BinaryIO,
    stop: threading.Event,
) -> Json:
    """Return what `look` returns of a container, and leave its tree at `tree(workspace)`. Raises what `look` raises."""
    told = {"CC_IMAGES_SECRETS": json.dumps(list(secrets))}
    return _run(_Program("look.py", told, keeps_tree=True), image, workspace, guards=guards, log=log, stop=stop)


def tree(workspace: Path) -> Path:
    """Return where `unpacked` leaves a tree: not in `out`, whose files are given to the user who asked."""
    return workspace / "tree" / "root"


def listed(
    image: Path,
    workspace: Path,
    taken: Sequence[str] = (),
    *,
    guards: Path,
    log: BinaryIO,
    stop: threading.Event,
) -> Json:
    """Return a list of all that is in an image, with digests; see `inside/listing.py`. Raises what `look` raises.

    The files `taken` are in `workspace/out` afterwards, by their numbers.
    """
    told = {"CC_IMAGES_TAKEN": json.dumps(list(taken))}
    return _run(_Program("listing.py", told), image, workspace, guards=guards, log=log, stop=stop)


def packed(image: Path, workspace: Path, *, guards: Path, log: BinaryIO, stop: threading.Event) -> Path:
    """Return the tree in a disk image, with all file systems that its fstab names, as a zstd tar in `workspace`.

    Raises what `look` raises, and CCImagesError for an image without a system.
    """
    require_system(_run(_Program("pack.py"), image, workspace, guards=guards, log=log, stop=stop))
    return Sandbox(workspace=workspace, guards=guards).out / "tree.tar"


@dataclass(frozen=True, slots=True)
class _Program:
    """One of the programs of `inside`, the variables that it gets, and whether the image's tree stays afterwards."""

    name: str
    told: Mapping[str, str] = field(default_factory=dict)
    keeps_tree: bool = False


def _run(
    program: _Program,
    image: Path,
    workspace: Path,
    *,
    guards: Path,
    log: BinaryIO,
    stop: threading.Event,
) -> Json:
    """Run one of the programs on an image in a sandbox, and return what it has written."""
    image = image.resolve()  # an absolute name is neither an option nor a protocol to QEMU's tools
    disk_format = self_contained(image, stop)
    for hosts in (False, True):
        sandbox = Sandbox(
            workspace=workspace,
            guards=guards,
            visible=(image, INSIDE),
            keeps="DAC_READ_SEARCH",
            network="none",
            hosts=hosts,
        )
        mounts = tree(workspace).parent if program.keeps_tree else sandbox.scratch / "look"
        places = (INSIDE / program.name, image, mounts, sandbox.out / "facts.json")
        file, *paths = (str(sandbox.place(each)) for each in places)
        words = [sys.executable, "-I", file, paths[0], disk_format, *paths[1:]]
        try:
            sandbox.run(words, program.told, log=log, timeout=TIMEOUT, stop=stop, on_line=lambda line: None)
            break
        except process.CommandFailed as error:
            if error.code != HOSTS_ROOT or not sandbox.rootless:
                raise
            require_root([f"a look into {image.name}"])
            remove(workspace)
    return written(sandbox.out / "facts.json")


def written(result: Path) -> Json:
    """Return what a program of `inside` has written, with texts that may be printed."""
    descriptor = os.open(result, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        facts: Json = all_printable(json.loads(file.read().decode(errors="backslashreplace")))
    return facts


def lacking() -> list[str]:
    """Return the programs that this host lacks for looks by an ordinary user."""
    return [each for each in BY_FUSE if shutil.which(each, path=":".join(SYSTEM_PATH)) is None]


def require_host() -> None:
    """Check, before anything runs, that this host can look into images. Raises CCImagesError or UserError."""
    require_tools({"setpriv": "util-linux", "sfdisk": "fdisk (util-linux)", "qemu-img": "qemu-utils"})
    lacks = lacking()
    without = way() is Way.NAMESPACE and bool(lacks)
    require_root([f"without {' and '.join(lacks)} a look into an image"] if without else ())


def self_contained(image: Path, stop: Stop) -> str:
    """Return the format of an image that refers to no other file, by QEMU's name, or `tree` for what is no disk."""
    try:
        with image.open("rb") as file:
            magic = file.read(MOST_MAGIC)
    except OSError as error:
        raise UserError(
            f"{image}: {error.strerror}", hint="name a tag of the catalogue, or a qcow2 or raw file"
        ) from error
    if magic.startswith(ARCHIVES):
        return "tree"
    form = next((form for begin, form in DISKS.items() if magic.startswith(begin)), "raw")
    if form == "raw":
        return "raw"
    command = ["qemu-img", "info", "-f", form, "--output=json", str(image)]
    try:
        said = json.loads(process.run(command, env=environment.plain(), timeout=60, stop=stop))
    except (process.CommandFailed, ValueError) as error:
        raise UserError(f"{image} is not a readable {form} file", hint="get it again") from error
    more = said.get("format-specific", {}).get("data", {})
    if said.get("backing-filename") or more.get("data-file"):
        raise UserError(
            f"{image} refers to another file ({said.get('backing-filename') or more['data-file']})",
            hint="if you trust it, make it stand alone with `qemu-img convert`",
            reason=Reason.NOT_SELF_CONTAINED,
        )
    return form


def nameservers() -> list[str]:
    """Return the name servers of this host that mean nothing elsewhere: those with private addresses."""
    try:
        lines = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
    except OSError:
        return []
    listed = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    found = [NAMESERVER]
    for each in listed:
        with suppress(ValueError):
            address = ip_address(each.partition("%")[0])
            if address.is_private and not address.is_loopback:
                found.append(each)
    return found


def admitted_keys(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the public keys that a build's variables give to ccadmin: a file's lines, or the value's own."""
    said = variables.get("DIB_CC_ADMIN_KEYS", "")
    with suppress(OSError, ValueError):  # ValueError: a text that no path can be
        said = Path(said).read_text() if said.startswith("/") else said
    return tuple(line for line in said.splitlines() if line.strip())


def require_system(facts: Json) -> None:
    """Raise CCImagesError when the look has found no system, or one that it could not read to its end."""
    if "trouble" in facts:
        hint = "the file may be no system image, or this kernel lacks its file system; the task's log has more"
        raise CCImagesError(facts["trouble"], hint=hint, reason=Reason.NO_SYSTEM)
