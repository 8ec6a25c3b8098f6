"""The error of a file system that is full, from whatever a program says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import process


def full(target: Path) -> CCImagesError:
    """Return the error for a file that found no room."""
    return CCImagesError(
        f"no space left for {target.name}",
        hint="free space in the store, or set CC_IMAGES_STORE to a larger file system",
        reason=Reason.DISK_FULL,
    )


@contextmanager
def translated(target: Path) -> Iterator[None]:
    """Turn the failure of a program that found no room for a file into that error."""
    try:
        yield
    except process.CommandFailed as error:
        if any("No space left on device" in line for line in error.tail):
            raise full(target) from error
        raise
