"""The log of a run: all that modules below `cc_images` log meanwhile, in `logs/<run>/run.log`.

Each line has the time in UTC, the level, the run's task, the module and the message, without secrets. Retries, waits
for locks and decisions about what is cached are there. A run sees its own lines alone, though several may be at work
in one process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from cc_images.model.redaction import without_secrets

RUN: ContextVar[str] = ContextVar("run", default="")
"""The run for which a thread works."""

TASK: ContextVar[str] = ContextVar("task", default="")
"""The task of the run, if it is one's."""

LINE = "%(asctime)s %(levelname)-7s [%(task)s] %(module)s: %(message)s"


class Formatter(logging.Formatter):
    """Formats a record with the run's and the task's name, without secrets."""

    converter = time.gmtime  # type: ignore[assignment]  # the base class says it so

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        record.run, record.task = RUN.get(), TASK.get() or "run"
        return without_secrets(super().format(record))


@contextmanager
def working_for(run: str, task: str = "") -> Iterator[None]:
    """Say for which run and task this thread works."""
    before = RUN.set(run), TASK.set(task)
    try:
        yield
    finally:
        RUN.reset(before[0])
        TASK.reset(before[1])


@contextmanager
def kept(run: str, path: Path) -> Iterator[None]:
    """Append to a file what is logged for a run. A file that cannot be written does not stop the run."""
    log = logging.getLogger("cc_images")
    try:
        handler: logging.Handler = logging.FileHandler(path, delay=False)
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(Formatter(LINE, "%Y-%m-%dT%H:%M:%SZ"))
    handler.addFilter(lambda record: RUN.get() == run)
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    log.addHandler(handler)
    _listeners.enter(log)
    try:
        with working_for(run):
            yield
    finally:
        _listeners.leave(log)
        log.removeHandler(handler)
        with suppress(OSError):
            handler.close()


class _Listeners:
    """Lets the logger pass what is informative as long as any run keeps it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._before = logging.NOTSET

    def enter(self, log: logging.Logger) -> None:
        with self._lock:
            if not self._count:
                self._before = log.level
                if log.getEffectiveLevel() > logging.INFO:
                    log.setLevel(logging.INFO)
            self._count += 1

    def leave(self, log: logging.Logger) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                log.setLevel(self._before)


_listeners = _Listeners()
