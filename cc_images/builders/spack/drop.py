"""The folder into which a build drops its packages, read without trust: the build may change it at any moment.

Nothing is followed that is a link, and nothing is read twice: a file is opened, looked at, and copied while its digest
is taken.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from cc_images.builders.spack.cache_layout import Odd


class Drop:
    """A drop folder, which need not be there yet; paths are relative to it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def state(self, path: str) -> tuple[int, int, int] | None:
        """Return what tells one state of a file from the next one; None while it is not there."""
        try:
            found = os.lstat(self._root / path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, if it is there and no link."""
        try:
            folder = self._folder(path.split("/"))
        except (OSError, Odd):
            return []
        try:
            return os.listdir(folder)
        finally:
            os.close(folder)

    def open(self, path: str, most: int) -> BinaryIO:
        """Open a regular file of at most `most` bytes. Raises Odd for anything else, FileNotFoundError."""
        *folders, name = path.split("/")
        folder = self._folder(folders)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Odd(f"{path} is no file that can be read") from error
        finally:
            os.close(folder)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            os.close(file)
            raise Odd(f"{path} is {'too large' if stat.S_ISREG(status.st_mode) else 'no regular file'}")
        return os.fdopen(file, "rb")

    def remove(self, path: str) -> None:
        """Remove a file that is done with, to free its room; that it stays harms nobody."""
        with suppress(OSError, Odd):
            *folders, name = path.split("/")
            folder = self._folder(folders)
            try:
                os.unlink(name, dir_fd=folder)
            finally:
                os.close(folder)

    def _folder(self, names: list[str]) -> int:
        """Open a folder below the drop, with no link on the way. Raises FileNotFoundError, Odd."""
        how = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(self._root, how)
        for name in names:
            try:
                inner = os.open(name, how, dir_fd=folder)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise Odd(f"{name} is no folder") from error
            finally:
                os.close(folder)
            folder = inner
        return folder
