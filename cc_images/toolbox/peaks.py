"""What a sandbox takes while it lives, seen from inside; later runs book it.

The standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import time
from pathlib import Path


class Peaks:
    """The most that a sandbox takes: bytes of its processes' own memory, and of its scratch folder.

    An alarm looks while PID 1 waits. What is shared between processes, or with files, is not counted: the kernel can
    drop it. A scratch folder on disk is walked, and so seldom that this costs a hundredth of the time at most.
    """

    EVERY = 1.0
    SELDOM = 100

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch
        self._in_memory = os.path.ismount(scratch)
        self._next_walk = 0.0
        self.memory = self.scratch = 0

    def watch(self) -> None:
        """Look now and then from now on; calls of the system that are interrupted go on by themselves."""
        signal.signal(signal.SIGALRM, lambda number, frame: self.look())
        signal.setitimer(signal.ITIMER_REAL, self.EVERY, self.EVERY)

    def leave(self, file: Path) -> None:
        """Stop looking, and write down what was seen."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.look()
        try:
            file.write_text(json.dumps({"memory": self.memory, "scratch": self.scratch}))
        except OSError:  # a full disk: the command has said so itself
            return

    def look(self) -> None:
        """Look once; what cannot be seen is not worth the command."""
        try:
            self._look()
        except OSError:
            return

    def _look(self) -> None:
        self.memory = max(self.memory, sum(map(own_memory, os.listdir("/proc"))))
        if self._in_memory:
            now = os.statvfs(self._scratch)
            self.scratch = max(self.scratch, (now.f_blocks - now.f_bfree) * now.f_frsize)
        elif time.monotonic() >= self._next_walk:
            began = time.monotonic()
            self.scratch = max(self.scratch, tree_size(self._scratch))
            self._next_walk = began + self.SELDOM * (time.monotonic() - began)


def own_memory(process: str) -> int:
    """Return the bytes of memory that are a process's own; 0 for what is no process, or is gone."""
    try:
        with open(f"/proc/{process}/statm") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * resource.getpagesize()


def tree_size(folder: str) -> int:
    """Return the bytes that a folder takes on its own file system; what is mounted below it does not count."""
    try:
        device = os.lstat(folder).st_dev
    except OSError:
        return 0
    total, left = 0, [folder]
    while left:
        try:
            entries = list(os.scandir(left.pop()))
        except OSError:  # gone meanwhile
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_dev == device:
                total += status.st_blocks * 512
                if stat.S_ISDIR(status.st_mode):
                    left.append(entry.path)
    return total
