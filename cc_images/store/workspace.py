"""Runs: what a running cc-images has of its own in a store: a folder, locks, names of the blobs that it reads."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from cc_images.errors import CCImagesError, Reason
from cc_images.host.files import locked, try_lock
from cc_images.model.catalog import Arch

GUARD_WAIT = 60.0
"""Seconds that a dead run's sandboxes get to disappear; the kernel takes well under one."""

HOST = 24
"""Characters of a host's name in the names of its runs."""


class Run:
    """One run's identity and private folder; holds the run's lock until `close`."""

    def __init__(self, version: str, work: Path, logs: Path, name: str = "", *, joined: bool = False) -> None:
        self.version = version
        self.name = name or version
        """The name by which other hosts see it: no other run, on any host, has this name."""
        self.work = work
        self.logs = logs
        self._held = [] if joined else [locked(work / "lock", fcntl.LOCK_EX)]

    @classmethod
    def joined(cls, version: str, work: Path, logs: Path, name: str = "") -> Run:
        """Return a run that lives in another process, for a task of it; the lock stays with that process."""
        return cls(version, work, logs, name, joined=True)

    def log_path(self, task: str) -> Path:
        """Return the log file of a task."""
        return self.logs / f"{task.replace('/', '_').replace(' ', '-')}.log"

    def workspace(self, name: str, arch: Arch) -> Path:
        """Return the folder in which one image, or one layer, is made."""
        return self.work / f"{name}-{arch}"

    def use(self, blob: Path) -> Path:
        """Return a name of a blob that stays until the run ends. Raises FileNotFoundError when it left the store."""
        name = self.work / "uses" / blob.name
        name.parent.mkdir(exist_ok=True)
        if name.exists() and not (blob.exists() and not name.samefile(blob)):
            return name
        name.unlink(missing_ok=True)  # the blob was damaged and has been made again
        with suppress(FileExistsError):
            os.link(blob, name)
        return name

    @property
    def asleep(self) -> frozenset[str]:
        """Tasks of the run that wait for a lease or a lock of another run."""
        with suppress(OSError):
            return frozenset(unquote(name) for name in os.listdir(self.work / "asleep"))
        return frozenset()

    def sleep(self, task: str) -> None:
        """Note that a task waits for another run."""
        (self.work / "asleep").mkdir(exist_ok=True)
        (self.work / "asleep" / quote(task, safe="")).touch()

    def wake(self, task: str) -> None:
        """Note that a task waits no more."""
        (self.work / "asleep" / quote(task, safe="")).unlink(missing_ok=True)

    def hold(self, descriptor: int) -> None:
        """Hold a lock until the run ends."""
        self._held.append(descriptor)

    def close(self) -> None:
        """Release the run's locks."""
        while self._held:
            os.close(self._held.pop())


def unique_name(version: str) -> str:
    """Return a name for a run of this version: its host's name and something random tell it from others."""
    return f"{version}-{_host()}-{secrets.token_hex(4)}"


def is_of_this_host(name: str) -> bool:
    """Say whether a unique name is that of a run on this host: a store may have been copied to another."""
    return name.partition("-")[2].rpartition("-")[0] == _host()


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname().partition(".")[0]).strip("-")[:HOST] or "host"


def wait_for_guards(work: Path) -> None:
    """Wait until no sandbox of the run is left."""
    deadline = time.monotonic() + GUARD_WAIT
    while time.monotonic() < deadline:
        if (descriptor := try_lock(work / "guards")) is not None:
            os.close(descriptor)
            return
        time.sleep(0.05)
    raise CCImagesError(
        f"a sandbox of {work.name} is still running",
        hint="look for its processes (`enter.py`), then start again",
        reason=Reason.BUSY,
        temporary=True,
    )
