"""Runs of a store: a run's begin, its private folder, its end, and the clearing up after dead runs."""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

from cc_images.errors import CCImagesError, Reason
from cc_images.host.files import clear_errors, is_held, locked, try_lock, wait_for_lock
from cc_images.model.builds import VERSION_FORMAT, moment
from cc_images.model.catalog import Arch

_log = logging.getLogger(__name__)

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
        return log_path(self.logs, task)

    def workspace(self, name: str, arch: Arch) -> Path:
        """Return the folder in which one image, or one layer, is made."""
        return self.work / f"{name}-{arch}"

    def use(self, blob: Path) -> Path:
        """Return a name of a blob that stays until the run ends. Raises FileNotFoundError when it left the store.

        A blob that was made again, because it was damaged or by another task, gets a name more: somebody may be about
        to mount the first one.
        """
        names = (self.work / f"uses{number or ''}" / blob.name for number in itertools.count())
        last: Path | None = None
        for name in names:
            with suppress(FileNotFoundError):
                if name.samefile(blob):
                    return name
            if name.exists():
                last = name
                continue
            if last is not None and not blob.exists():
                return last
            name.parent.mkdir(exist_ok=True)
            with suppress(FileExistsError):
                os.link(blob, name)
            return name
        raise AssertionError("there are names without end")

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


def log_path(logs: Path, task: str) -> Path:
    """Return the log file of a task, in the folder of its run's logs."""
    return logs / f"{task.replace('/', '_').replace(' ', '-')}.log"


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


SKEW = timedelta(minutes=1)
"""How far clocks may differ without a word."""


NAME = "name"
"""The file with a run's unique name, beside its logs."""


class RunFolders:
    """The folder `root` of a store, as far as runs are concerned. Waiting for locks ends when `stop` is set."""

    def __init__(self, root: Path, stop: threading.Event | None = None) -> None:
        self.root = root
        self._stop = stop

    # -- runs ---------------------------------------------------------------------------------------------------

    def start_run(self, now: datetime) -> Run:
        """Return a new run named after `now` (UTC, whole seconds; `.002`, `.003` … for more within one second).

        Names never go backwards: while the clock is behind the latest run or version, each gets the second after that.

        Raises CCImagesError when the store cannot be written to.
        """
        with clear_errors(self.root), self.lock("runs"):
            stamp = self._not_before_the_latest(now.astimezone(UTC)).strftime(VERSION_FORMAT)
            taken = {path.name for path in [*(self.root / "work").glob("*"), *(self.root / "logs").glob("*")]}
            names = (stamp if n == 1 else f"{stamp}.{n:03}" for n in range(1, 1000))
            version = next(name for name in names if name not in taken)
            work, logs = self.root / "work" / version, self.root / "logs" / version
            work.mkdir(parents=True)
            logs.mkdir(parents=True)
            logs.chmod(logs.stat().st_mode & 0o750)  # what hooks print is the owner's and the group's business
            name = unique_name(version)
            (logs / NAME).write_text(name)
            return Run(version, work, logs, name)

    def _not_before_the_latest(self, now: datetime) -> datetime:
        places = ("work/2*", "logs/2*", "builds/*/*/2*.json", "layers/*/*/2*.json")
        latest = max((path.name[:16] for place in places for path in self.root.glob(place)), default="")
        with suppress(ValueError):
            if (last := moment(latest)) > now:
                if last - now > SKEW:
                    _log.warning("the clock is behind %s, the latest run; this one is named after that", latest)
                return last + timedelta(seconds=1)
        return now

    def knows(self, run: str) -> bool:
        """Say whether a run was this store's, on this host, by its unique name; older versions gave runs none."""
        if not re.fullmatch(r"\w[\w.-]*", run):
            return not run
        logs = self.root / "logs" / run.partition("-")[0]
        with suppress(OSError):
            return (logs / NAME).read_text() == run and is_of_this_host(run)
        return logs.name == run and logs.is_dir()

    def is_at_work(self, run: str) -> bool:
        """Say whether a run of this store, by its unique name, is alive."""
        if not run or not self.knows(run):
            return False
        return is_held(self.root / "work" / run.partition("-")[0] / "lock")

    def reap(self, remove: Callable[[Path], None]) -> list[str]:
        """Remove the folders of dead runs with `remove`, and return their names. Living runs are not touched.

        Their journals are the caller's business; see `journal.mark_dead`.
        """
        reaped: list[str] = []
        with clear_errors(self.root):
            if not (self.root / "work").is_dir():
                return reaped
        with clear_errors(self.root), self.lock("runs"):
            for work in sorted(path for path in (self.root / "work").iterdir() if path.is_dir()):
                if (lock := try_lock(work / "lock")) is None:
                    continue
                try:
                    wait_for_guards(work)
                    remove(work)
                    reaped.append(work.name)
                except CCImagesError as error:  # one that this user cannot remove keeps nobody from working
                    _log.warning("%s; %s", error.message, error.hint)
                finally:
                    os.close(lock)
        return reaped

    def finish_run(self, run: Run, remove: Callable[[Path], None]) -> None:
        """Remove the run's private folder and let go of its locks."""
        try:
            wait_for_guards(run.work)
            remove(run.work)
        finally:
            run.close()

    def lock_path(self, name: str) -> Path:
        """Return the file that stands for the lock `name`."""
        return self.root / "locks" / name.replace("/", "_").replace(" ", "-")

    @contextmanager
    def lock(
        self,
        name: str,
        waiting: Callable[[], None] | None = None,
        stop: threading.Event | None = None,
        shared: bool = False,
    ) -> Iterator[None]:
        """Hold the store's lock `name`; `waiting` is called once when another process has it.

        Raises Interrupted when `stop` is set while it waits.
        """
        with clear_errors(self.root):
            how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            descriptor = wait_for_lock(self.lock_path(name), waiting, stop or self._stop, how)
        try:
            yield
        finally:
            os.close(descriptor)

    def free_bytes(self) -> int:
        """Return how much the store's file system has left, in bytes."""
        folder = next(path for path in (self.root, *self.root.parents) if path.exists())
        return shutil.disk_usage(folder).free
