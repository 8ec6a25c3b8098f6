"""Formats of trees: a root tree as a zstd tar in, files in other formats out; the same bytes from the same tree.

A ramdisk is a whole tree that the kernel unpacks into memory: `kernel` is the newest kernel in the tree's /boot,
`initramfs` all else, compressed in the way that every kernel reads.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from cc_images.clock import EPOCH
from cc_images.host import environment, process
from cc_images.host.containers import archive, image
from cc_images.host.containers.members import ZSTD
from cc_images.host.full import full, translated
from cc_images.model.catalog import Arch, Format
from cc_images.model.container import Configuration
from cc_images.outputs import cpio, sif

Run = tuple[Configuration, Arch]
"""How a tree is run, and on which machines."""

TOOLS: Mapping[Format, Mapping[str, str]] = {
    Format.TAR: {"zstd": "zstd"},
    Format.TAR_GZIP: {"zstd": "zstd", "gzip": "gzip"},
    Format.SQUASHFS: {"zstd": "zstd", "tar2sqfs": "squashfs-tools-ng"},
    Format.INITRAMFS: {"gzip": "gzip"},
    Format.OCI: {"gzip": "gzip"},
    Format.SIF: {"tar2sqfs": "squashfs-tools-ng"},
}
"""Programs that write a format, with the packages that have them."""


def tools(wanted: Format) -> list[tuple[str, str]]:
    """Return the programs that write a format, each with the package that has it."""
    return sorted(TOOLS.get(wanted, {}).items())


PIPES: Mapping[Format, str] = {
    Format.TAR_GZIP: 'zstd -q -d -c "$1" | gzip -n -6 > "$2"',
    Format.SQUASHFS: 'zstd -q -d -c "$1" | tar2sqfs -q -s -c zstd -j "$3" -d "mtime=$4,mode=0755" "$2"',
    Format.INITRAMFS: 'gzip -n -6 < "$1" > "$2"',
}
"""Shell commands of the formats: $1 is the tree, or its cpio archive, $2 the file, $3 the cores, $4 EPOCH."""

SOURCES: Mapping[Format, str] = {
    Format.TAR: 'zstd -q -d -c "$1"',
    Format.TAR_GZIP: 'gzip -d -c "$1"',
    Format.SQUASHFS: 'sqfs2tar "$1"',
    Format.OCI: "",
}
"""Shell commands that read a whole tree again from a file in one of the formats; an image is read here."""


def convert(
    tree: Path, target: Path, wanted: Format, run: Run, *, cores: int, log: BinaryIO, stop: threading.Event
) -> None:
    """Write a tree to `target` in a format; one that is wanted as zstd tar is moved, not copied.

    Raises CCImagesError for a tree without a kernel, where one is wanted, and for a full disk.
    """
    if wanted is Format.TAR:
        tree.rename(target)
        return
    if wanted in (Format.OCI, Format.SIF):
        write = image.write_oci if wanted is Format.OCI else partial(sif.write_sif, cores=cores)
        write(tree, target, *run, log=log, stop=stop)
        return
    unpacked = target.with_suffix(".cpio")
    try:
        if wanted is Format.KERNEL:
            cpio.kernel(tree, target, stop)
            return
        if wanted is Format.INITRAMFS:
            cpio.archive(tree, unpacked, stop)
            tree = unpacked
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise full(target) from error
        raise
    try:
        _piped(PIPES[wanted], (tree, target, str(max(1, cores)), str(EPOCH)), log, stop)
    finally:
        unpacked.unlink(missing_ok=True)


def held(file: Path) -> Format:
    """Return the format of a tree that a builder has made: a zstd tar, or the archive of an image."""
    with file.open("rb") as opened:
        return Format.TAR if opened.read(4) == ZSTD else Format.OCI


def opened(file: Path, held: Format, target: Path, *, log: BinaryIO, stop: threading.Event) -> None:
    """Write the tree in a finished file of one of SOURCES to `target`, as a zstd tar."""
    if held is Format.OCI:
        archive.flatten(file, target, stop)
        return
    _piped(f'{SOURCES[held]} | zstd -q -3 -T0 > "$2"', (file, target), log, stop)


def _piped(script: str, words: tuple[Path | str, ...], log: BinaryIO, stop: threading.Event) -> None:
    """Run a shell command that writes its second word."""
    with translated(Path(words[1])):
        process.run(
            ["bash", "-o", "pipefail", "-c", script, "convert", *map(str, words)],
            env=environment.plain(),
            output=process.Output(log=log),
            stop=stop,
        )
