"""SIF files: a tree as a squashfs in the container format of Apptainer and Singularity.

Rules: the global header and the 48 descriptors of SIF 1.0 (sif, pkg/sif: header.go, descriptor.go), and the files below
/.singularity.d that Apptainer reads in an image. Identifier and times follow from the content: the same tree and
configuration are the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import struct
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from cc_images.clock import EPOCH
from cc_images.host import environment, process
from cc_images.host.containers.layer import Added, write_layer
from cc_images.host.containers.members import Heeding
from cc_images.host.full import translated
from cc_images.model.catalog import Arch
from cc_images.model.container import PATH, Configuration

LAUNCH = b"#!/usr/bin/env run-singularity\n"
ARCHES = {Arch.AMD64: b"02\0", Arch.ARM64: b"04\0"}

DESCRIPTORS, DESCRIPTOR, DESCRIPTORS_AT = 48, 585, 4096
DATA_AT = DESCRIPTORS_AT + DESCRIPTORS * DESCRIPTOR
BLOCK = 4096
"""The alignment of a partition, in bytes."""

DEFINITION, PARTITION, JSON = 0x4001, 0x4004, 0x4006
GROUP = 0xF0000001
SQUASHFS, SYSTEM = 1, 2
"""The kind of a partition's file system, and that of the partition from which a container starts."""

PLACES = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o555, "root": 0o700, "sys": 0o555, "tmp": 0o1777,
    "var": 0o755, "var/tmp": 0o1777,
}  # fmt: skip
"""Folders at which Apptainer mounts something, with their modes; those of the tree stay."""

SPACE = uuid.UUID("0b2f3f0e-58a5-5f0c-9a55-3d2f6f4d9c11")
"""The namespace of our files' identifiers."""

PACK = 'tar2sqfs -q -s -c "$3" ${6:+-X "$6"} -j "$4" -d "mtime=$5,mode=0755" "$2" < "$1"'

LEVEL = 7
"""The level of zlib. From 7 to 9 squashfs of Debian shrinks by 0.3 % and takes 2.6 times the CPU."""


def write_sif(
    tree: Path,
    target: Path,
    said: Configuration,
    arch: Arch,
    *,
    cores: int,
    log: BinaryIO,
    stop: threading.Event,
) -> None:
    """Write a tree as a SIF file, by gzip, which every host reads, unless something else is said."""
    plain, squashfs = target.with_suffix(".layer"), target.with_suffix(".squashfs")
    try:
        write_layer(tree, plain, stop, inside(said))
        compression = said.compression or "gzip"
        level = f"level={LEVEL}" if compression == "gzip" else ""
        words = [str(plain), str(squashfs), compression, str(max(1, cores)), str(EPOCH), level]
        with translated(target):
            process.run(
                ["sh", "-c", PACK, "pack", *words],
                env=environment.plain(),
                output=process.Output(log=log),
                stop=stop,
            )
        plain.unlink()
        _assembled(target, squashfs, said, arch, stop)
    finally:
        plain.unlink(missing_ok=True)
        squashfs.unlink(missing_ok=True)


def inside(said: Configuration) -> list[Added]:
    """Return the files by which Apptainer knows how to run a tree."""
    folder = ".singularity.d"
    return [
        *(Added(name=f"{each}/", mode=mode, yields=True) for each, mode in PLACES.items()),
        *(Added(name=each, yields=True) for each in ("etc/hosts", "etc/resolv.conf")),
        *(Added(name=f"{folder}/{each}", mode=0o755) for each in ("", "actions/", "env/", "libs/")),
        Added(name=f"{folder}/Singularity", content=definition(said).encode()),
        Added(name=f"{folder}/labels.json", content=_json(said.labels)),
        Added(name=f"{folder}/env/10-docker2singularity.sh", content=exported(said).encode(), mode=0o755),
        Added(name=f"{folder}/env/90-environment.sh", content=b"#!/bin/sh\n", mode=0o755),
        Added(name=f"{folder}/runscript", content=runscript(said).encode(), mode=0o755),
        Added(name="environment", target=f"{folder}/env/90-environment.sh"),
        Added(name="singularity", target=f"{folder}/runscript"),
    ]


def definition(said: Configuration) -> str:
    """Return what stands for a definition file: where the image is from."""
    title = said.labels.get("org.opencontainers.image.title", "a tree")
    return f"bootstrap: cc-images\nfrom: {title}\n"


def exported(said: Configuration) -> str:
    """Return the script that sets the variables: those that a user has set stay, but the path."""
    variables = {"PATH": PATH} | dict(said.environment)
    lines = [f"export PATH={shlex.quote(variables.pop('PATH'))}"]
    for name, value in variables.items():
        lines.append(f'[ -n "${{{name}+set}}" ] || export {name}={shlex.quote(value)}')
    return "\n".join(["#!/bin/sh", *lines, ""])


def runscript(said: Configuration) -> str:
    """Return the script that runs a container: the entry point with the words given, else with those of the command."""
    entry, usual = shlex.join(said.entrypoint), shlex.join(said.command)
    if not entry:
        lines = ['[ $# -gt 0 ] && exec "$@"', f"exec {usual or '/bin/sh'}"]
    else:
        lines = [*([f"[ $# -gt 0 ] || set -- {usual}"] if usual else []), f'exec {entry} "$@"']
    return "\n".join(["#!/bin/sh", *lines, ""])


def _json(plain: object) -> bytes:
    return json.dumps(plain, sort_keys=True, indent=1).encode() + b"\n"


def _assembled(target: Path, squashfs: Path, said: Configuration, arch: Arch, stop: threading.Event) -> None:
    """Put the parts together: definition, labels, and the partition."""
    system = struct.pack("<ii3s", SQUASHFS, SYSTEM, ARCHES[arch])
    parts: Sequence[tuple[int, bytes, bytes | Path, bytes]] = (
        (DEFINITION, b"definition", definition(said).encode(), b""),
        (JSON, b"labels.json", _json(said.labels), b""),
        (PARTITION, b"tree.squashfs", squashfs, system),
    )
    found, place = [], DATA_AT
    with target.open("wb") as file:
        for number, (kind, name, content, extra) in enumerate(parts, start=1):
            begin = place if isinstance(content, bytes) else -(-place // BLOCK) * BLOCK
            file.seek(begin)
            if isinstance(content, bytes):
                file.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(Heeding(source, stop), file, 1 << 20)
            end = file.tell()
            found.append(
                struct.pack("<i?III", kind, True, number, GROUP, 0)
                + struct.pack("<7q", begin, end - begin, end - place, EPOCH, EPOCH, 0, 0)
                + name.ljust(128, b"\0")
                + extra.ljust(384, b"\0")
            )
            place = end
        with squashfs.open("rb") as source:
            known = hashlib.file_digest(source, "sha256").hexdigest()
        header = LAUNCH.ljust(32, b"\0") + b"SIF_MAGIC\0" + b"01\0" + ARCHES[arch] + uuid.uuid5(SPACE, known).bytes
        sizes = (DESCRIPTORS - len(parts), DESCRIPTORS, DESCRIPTORS_AT, DESCRIPTORS * DESCRIPTOR)
        header += struct.pack("<8q", EPOCH, EPOCH, *sizes, DATA_AT, place - DATA_AT)
        file.seek(0)
        file.write(header)
        file.seek(DESCRIPTORS_AT)
        file.write(b"".join(found))
    target.chmod(0o755)
