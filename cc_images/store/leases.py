"""Leases: locks of a store that a run holds across its tasks, wherever these run.

A lease is a file that names its run. It holds for as long as that run lives, so a dead run releases its leases by
itself. The file is read and written under its own lock, for a moment at a time.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cc_images.errors import Interrupted
from cc_images.host.files import clear_errors, try_lock, wait_for_lock

_log = logging.getLogger(__name__)

TICK = 0.2
"""Seconds between two looks at a lease that another run holds."""


class Holder(Protocol):
    """A run, as far as leases are concerned."""

    version: str


class Leases:
    """The leases of the store at `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def take(self, name: str, run: Holder, waiting: Callable[[], None] | None = None,
             stop: threading.Event | None = None) -> None:  # fmt: skip
        """Take a lease for a run, or keep it; `waiting` is called once when another run has it.

        Raises Interrupted when `stop` is set meanwhile, and CCImagesError when the store cannot be written to.
        """
        told, began = False, time.monotonic()
        while not self._taken(name, run):
            if not told:
                _log.info("waiting for the lease of %s", name)
                told = True
                if waiting is not None:
                    waiting()
            if stop is not None and stop.is_set():
                raise Interrupted("stopped while waiting for another run")
            time.sleep(TICK)
        if told:
            _log.info("got the lease of %s after %.1f s", name, time.monotonic() - began)

    def release(self, name: str, run: Holder) -> None:
        """Give a lease back, if the run has it."""
        if not self.path(name).exists():
            return
        with self._opened(name) as file:
            if _holder(file) == run.version:
                os.truncate(file, 0)

    def held(self, name: str, run: Holder) -> bool:
        """Say whether a run has a lease."""
        try:
            return self.path(name).read_text() == run.version
        except OSError:
            return False

    def path(self, name: str) -> Path:
        """Return the file of a lease."""
        return self._root / "locks" / f"lease-{name.replace('/', '_').replace(' ', '-')}"

    def _taken(self, name: str, run: Holder) -> bool:
        with self._opened(name) as file:
            holder = _holder(file)
            if holder not in ("", run.version) and self._lives(holder):
                return False
            os.truncate(file, 0)
            os.pwrite(file, run.version.encode(), 0)
            return True

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        with clear_errors(self._root):
            file = wait_for_lock(self.path(name))
        try:
            yield file
        finally:
            os.close(file)

    def _lives(self, run: str) -> bool:
        """Say whether a run lives: it holds the lock of its folder."""
        try:
            if (lock := try_lock(self._root / "work" / run / "lock", fcntl.LOCK_SH)) is None:
                return True
        except PermissionError:  # another user's
            return True
        except OSError:
            return False
        os.close(lock)
        return False


def _holder(file: int) -> str:
    return os.pread(file, 256, 0).decode(errors="replace")


def image_lease(tag: str, arch: str) -> str:
    """Return the name of the lease of an image that is built and converted."""
    return f"image {tag} {arch}"
