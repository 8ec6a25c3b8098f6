"""The leash of the process that does an attempt's work: it ends when its lease does, or when its guard is gone.

The guard writes the end of the lease into a pipe each time it moves. The sandboxes of the process die with it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import IO

from cc_images.remote.protocol import BLOCK, now

TICK = 0.2
"""Seconds between two looks at the lease."""


class Leash(threading.Thread):
    """Kills this process once its deadline has passed."""

    def __init__(self, deadline: float, told: Iterator[bytes]) -> None:
        super().__init__(name="leash", daemon=True)
        self._deadline = deadline
        self._told = told
        self._listener = threading.Thread(target=self._listen, name="deadlines", daemon=True)

    def run(self) -> None:
        """Watch."""
        self._listener.start()
        while now() < self._deadline:
            time.sleep(TICK)
        _die()

    def _listen(self) -> None:
        for line in self._told:
            self._deadline = float(line)
        _die()


def lines_of(pipe: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a pipe.

    Its own buffer is not used: Python aborts at its end while a thread waits in the lock of one.
    """
    rest = b""
    while piece := os.read(pipe.fileno(), BLOCK):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
