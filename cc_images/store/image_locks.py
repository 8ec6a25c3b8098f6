"""Locks on images: which runs are at work on which images, so that runs wait for each other, or leave.

Every run locks its images, shared, for as long as it lives. A run that wants them alone begins when no other run has
them locked; from then on it is a run like any other: a run that does not wait shares the images with it, and tasks
wait for tasks. The locks are the kernel's, so a dead run releases them.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from pathlib import Path

from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.host.files import clear_errors, try_lock
from cc_images.model.catalog import Arch
from cc_images.model.run import IfBusy
from cc_images.store.records import Store
from cc_images.store.workspace import Run

LOOK = 0.2
"""Seconds between two looks at whether the others are done."""


class Busy(CCImagesError):
    """Another run is at work on the same images, and this one was asked to leave then."""

    exit_code = 4


def take(
    store: Store,
    run: Run,
    images: Collection[tuple[str, Arch]],
    how: IfBusy,
    *,
    on_wait: Callable[[str], None] = lambda blocker: None,
    stop: threading.Event | None = None,
) -> None:
    """Lock images, by tag and architecture, for `run` until it ends.

    `on_wait` is called once when it has to wait, with the blocker.

    Raises Busy with LEAVE, and Interrupted when `stop` is set while it waits.
    """
    told = False
    while True:
        with store.lock("turns"), clear_errors(store.root):
            busy = _mark(store, run, images, how)
        if not busy:
            return
        if how is IfBusy.LEAVE:
            raise Busy(f"nothing was done: {busy}", hint="the other run does the work", reason=Reason.BUSY,
                       temporary=True)  # fmt: skip
        if not told:
            on_wait(busy)
        told = True
        if stop is not None and stop.is_set():
            raise Interrupted("stopped while waiting for another run")
        time.sleep(LOOK)


def _mark(store: Store, run: Run, images: Collection[tuple[str, Arch]], how: IfBusy) -> str:
    """Lock all images, or none and return who has them."""
    with ExitStack() as taken:
        marks: list[int] = []
        for tag, arch in sorted(images):
            path = store.lock_path(f"turn {tag} {arch}")
            descriptor = try_lock(path, fcntl.LOCK_SH if how is IfBusy.SHARE else fcntl.LOCK_EX)
            if descriptor is None:
                return f"{_who(path)} is at work on {tag} {arch}"
            taken.callback(os.close, descriptor)
            marks.append(descriptor)
        taken.pop_all()
    for descriptor in marks:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # another run that would take it waits for the lock `turns`
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"run {run.version}".encode(), 0)
        run.hold(descriptor)
    return ""


def _who(path: Path) -> str:
    with suppress(OSError):
        return path.read_text() or "another run"
    return "another run"
