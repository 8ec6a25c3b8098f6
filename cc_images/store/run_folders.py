"""The folders of runs in a store: how a run begins, ends, and is cleared up after its death; the store's locks."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cc_images.host.files import clear_errors, try_lock, wait_for_lock
from cc_images.model.builds import VERSION_FORMAT, moment
from cc_images.store.workspace import Run, is_of_this_host, unique_name, wait_for_guards

_log = logging.getLogger(__name__)

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
