"""Disk formats: one disk in, files in other formats out, with all cores that were booked.

To add a format: a member of `catalog.Format`, and its line in WRITERS or OPTIONS; CONTRIBUTING.md has the rest.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cc_images.host import environment, process
from cc_images.host.files import Written
from cc_images.host.full import full, translated
from cc_images.model.catalog import Format
from cc_images.outputs import qcow2
from cc_images.outputs.identities import SETTLE

WRITERS: Mapping[Format, Callable[..., Written]] = {Format.QCOW2: qcow2.write}
"""Writers of our own, from a raw disk: the same bytes from the same disk everywhere."""

WRITER_NAMES: Mapping[Format, str] = {Format.QCOW2: qcow2.WRITER}
"""What records say of who wrote a file, of those writers that take a seed."""

EXACT = frozenset({Format.RAW, *WRITERS, *SETTLE})
"""Formats in which the same disk has the same bytes."""

OPTIONS: Mapping[Format, tuple[str, ...]] = {
    Format.QCOW2: ("-O", "qcow2", "-c", "-o", "compression_type=zstd"),
    Format.QCOW2_ZLIB: ("-O", "qcow2", "-c", "-o", "compression_type=zlib"),
    Format.RAW: ("-O", "raw"),
    Format.VMDK: ("-O", "vmdk", "-o", "subformat=streamOptimized"),
    Format.VHD: ("-O", "vpc", "-o", "subformat=dynamic,force_size=on"),
}
"""The options of `qemu-img convert` for each format; with one of WRITERS, for other disks than raw ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A disk that outputs are made from."""

    file: Path
    format: Format
    virtual_size: int
    seed: Path | None = None
    """A file in the wanted format, by the same of WRITER_NAMES, of which a writer may take what has not changed."""


def convert(
    source: Source,
    target: Path,
    wanted: Format,
    *,
    cores: int,
    log: BinaryIO,
    stop: threading.Event,
) -> Written | None:
    """Write `source` to `target` in the wanted format. A raw disk that is wanted raw is moved, not copied.

    Return the digests of the file where its writer knows them.
    """
    is_raw = source.format is Format.RAW
    if is_raw and wanted is Format.RAW:
        source.file.rename(target)
        return None
    if is_raw and wanted in WRITERS:
        try:
            return WRITERS[wanted](source.file, target, cores=cores, stop=stop, seed=source.seed)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise full(target) from error
            raise
    # several writers place clusters by chance
    writers = ("-m", "1") if wanted in SETTLE else ("-W", "-m", str(max(1, min(cores, 16))))
    argv = ["qemu-img", "convert", *writers, "-f", source.format.qemu]
    with translated(target):
        process.run(
            [*argv, *OPTIONS[wanted], str(source.file), str(target)],
            env=environment.plain(),
            output=process.Output(log=log),
            stop=stop,
        )
    if settle := SETTLE.get(wanted):
        settle(target)
    return None


def same(one: Path, one_format: Format, other: Path, other_format: Format, *, stop: threading.Event) -> bool:
    """Say whether two files hold the same disk, whatever their formats."""
    argv = ["qemu-img", "compare", "-f", one_format.qemu, "-F", other_format.qemu, str(one), str(other)]
    try:
        process.run(argv, env=environment.plain(), stop=stop)
    except process.CommandFailed as error:
        if error.code == 1:  # they differ; 2 and more are errors
            return False
        raise
    return True
