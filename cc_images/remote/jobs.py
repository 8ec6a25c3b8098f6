"""Jobs of attempts on this host: each holds a lock while its guard lives, and can be looked at and ended by its id."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host.files import try_lock
from cc_images.model.attempt import ATTEMPT, JobState

GRACE = 45.0
"""Seconds that a job gets to end by itself; then it is killed."""


@contextmanager
def held(store: Path, attempt: str) -> Iterator[None]:
    """Hold the lock of an attempt's job. Raises CCImagesError when another job has it."""
    path = _lock(store, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    if (descriptor := try_lock(path)) is None:
        raise CCImagesError(f"attempt {attempt} is at work here already", reason=Reason.BUSY)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def states(store: Path, attempts: Collection[str]) -> dict[str, JobState]:
    """Return which jobs are at work on this host; UNKNOWN for those that never were."""
    found: dict[str, JobState] = {}
    for each in attempts:
        path = _lock(store, each)
        if not path.exists():
            found[each] = JobState.UNKNOWN
        elif (descriptor := try_lock(path)) is None:
            found[each] = JobState.RUNNING
        else:
            os.close(descriptor)
            found[each] = JobState.ENDED
    return found


def at_work(store: Path) -> list[str]:
    """Return the attempts at work on this host."""
    names = [path.parent.name for path in (store / "logs").glob("a*/job.lock")]
    return [name for name, state in states(store, names).items() if state is JobState.RUNNING]


def cancel(store: Path, attempt: str) -> None:
    """End a job, if it is at work here; first by asking. Raises CCImagesError when it does not end."""
    began = time.monotonic()
    number = signal.SIGTERM
    while states(store, [attempt])[attempt] is JobState.RUNNING:
        with suppress(OSError, ValueError):
            os.kill(int(_lock(store, attempt).read_text()), number)
        if time.monotonic() - began > GRACE:
            if number == signal.SIGKILL:
                raise CCImagesError(f"the job of attempt {attempt} does not end", reason=Reason.BUSY)
            number, began = signal.SIGKILL, time.monotonic()
        time.sleep(1.0)


def _lock(store: Path, attempt: str) -> Path:
    """Return the file that stands for a job. Raises UserError for what is no attempt's id."""
    if not ATTEMPT.fullmatch(attempt):
        raise UserError(f"{attempt!r} is no attempt's id", hint="an id is a and 32 hexadecimal digits")
    return store / "logs" / attempt / "job.lock"
