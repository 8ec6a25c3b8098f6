"""Disk formats: one disk in, files in other formats out, with all cores that were booked.

To add a format: a member of `catalog.Format`, and its line in OPTIONS; CONTRIBUTING.md has the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment, process
from cc_images.model.catalog import Format

OPTIONS: Mapping[Format, tuple[str, ...]] = {
    Format.QCOW2: ("-O", "qcow2", "-c", "-o", "compression_type=zstd"),
    Format.QCOW2_ZLIB: ("-O", "qcow2", "-c", "-o", "compression_type=zlib"),
    Format.RAW: ("-O", "raw"),
}
"""The options of `qemu-img convert` for each format."""


def convert(
    source: Path,
    target: Path,
    wanted: Format,
    *,
    cores: int,
    log: BinaryIO,
    stop: threading.Event,
    source_format: Format = Format.RAW,
) -> None:
    """Write `source` to `target` in the wanted format. A raw disk that is wanted raw is moved, not copied."""
    if source_format is Format.RAW and wanted is Format.RAW:
        source.rename(target)
        return
    argv = ["qemu-img", "convert", "-W", "-m", str(max(1, min(cores, 16))), "-f", source_format.suffix]
    try:
        process.run(
            [*argv, *OPTIONS[wanted], str(source), str(target)],
            env=environment.plain(),
            output=process.Output(log=log),
            stop=stop,
        )
    except process.CommandFailed as error:
        if any("No space left on device" in line for line in error.tail):
            raise CCImagesError(
                f"no space left for {target.name}",
                hint="free space in the store, or set CC_IMAGES_STORE to a larger file system",
                reason=Reason.DISK_FULL,
            ) from error
        raise


def same(one: Path, one_format: Format, other: Path, other_format: Format, *, stop: threading.Event) -> bool:
    """Say whether two files hold the same disk, whatever their formats."""
    argv = ["qemu-img", "compare", "-f", one_format.suffix, "-F", other_format.suffix, str(one), str(other)]
    try:
        process.run(argv, env=environment.plain(), stop=stop)
    except process.CommandFailed as error:
        if error.code == 1:  # they differ; 2 and more are errors
            return False
        raise
    return True
