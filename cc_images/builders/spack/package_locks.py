"""Locks of packages by their hashes: who compiles one has it alone, who installs it from the cache shares it.

All are in one file: a byte each, at an offset that follows from the hash, as locks of an open file description. So a
build needs one descriptor for any number of packages, and a dead process has no locks. Everybody takes them in the
order of the offsets, so nobody waits in a circle.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from cc_images.errors import Interrupted

TICK = 0.1
"""Seconds between two looks at a lock that another has."""


class PackageLocks:
    """The locks of one build, or of one `prune`."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def __enter__(self) -> PackageLocks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._descriptor)

    def alone(self, name: str) -> bool:
        """Take a package's lock alone; return whether that was possible now."""
        return self._lock(name, fcntl.F_WRLCK)

    def share(self, name: str) -> None:
        """Let others share a lock that this build has alone, in one step."""
        shared = self._lock(name, fcntl.F_RDLCK)
        assert shared, f"the lock of {name} was not held"

    def take(self, name: str, is_there: Callable[[], bool], stop: threading.Event, waiting: Callable[[], None]) -> bool:
        """Take a package's lock: shared when `is_there` says that it is in the cache, else alone; return which it is.

        Waits while another compiles the package; `waiting` is called once. Raises Interrupted when `stop` is set.
        """
        told = False
        while True:
            if self.alone(name):
                if not is_there():
                    return False
                self.share(name)
                return True
            if self._lock(name, fcntl.F_RDLCK):
                if is_there():
                    return True
                self._lock(name, fcntl.F_UNLCK)
            if not told:
                waiting()
                told = True
            if stop.is_set():
                raise Interrupted("stopped while waiting for a package that another run builds")
            time.sleep(TICK)

    def _lock(self, name: str, kind: int) -> bool:
        """Take, change or release a lock; return whether another's did not stand in the way."""
        # struct flock of a 64-bit host: kind, whence, start, length, process (0 for these locks)
        wanted = struct.pack("hhqqi4x", kind, os.SEEK_SET, offset(name), 1, 0)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, wanted)
        except (BlockingIOError, PermissionError):
            return False
        return True


def offset(name: str) -> int:
    """Return the byte that stands for a package's hash."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
