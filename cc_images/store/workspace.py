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

from cc_images.errors import CCImagesError
from cc_images.host.files import locked, try_lock
from cc_images.model.catalog import Arch, Build

GUARD_WAIT = 60.0
"""Seconds that a dead run's sandboxes get to disappear; the kernel takes well under one."""

HOST = 24
"""Characters of a host's name in the names of its runs."""


class Run:
    """One run's identity and private folder; holds the run's lock until `close`."""

    def __init__(self, version: str, work: Path, logs: Path, name: str = "") -> None:
        self.version = version
        self.name = name or version
        """What it is called where other hosts see it: no other run, on any host, has this name."""
        self.work = work
        self.logs = logs
        self._lock = locked(work / "lock", fcntl.LOCK_EX)
        self._held: dict[str, int] = {}
        self.asleep: set[str] = set()
        """Its tasks that wait for what another run is at work on."""
        self.pinned: dict[tuple[str, Arch, str], Build] = {}
        """Stored builds that the run relies on, by tag, architecture and version."""

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
        name.unlink(missing_ok=True)  # the blob was damaged and has been made anew
        with suppress(FileExistsError):
            os.link(blob, name)
        return name

    def holds(self, name: str) -> bool:
        """Say whether a lock of this name is kept."""
        return name in self._held

    def keep(self, name: str, descriptor: int) -> None:
        """Keep a lock until `let_go`, or until the run ends; one of the same name is let go of."""
        self.let_go(name)
        self._held[name] = descriptor

    def let_go(self, name: str) -> None:
        """Let go of a kept lock, if it is held."""
        if (descriptor := self._held.pop(name, None)) is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of all locks."""
        for name in list(self._held):
            self.let_go(name)
        os.close(self._lock)


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
        reason="busy",
        temporary=True,
    )
