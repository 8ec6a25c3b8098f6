"""Open runs: a run's name, folder, lock, journal, log and stream of events, from its beginning to its end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from cc_images import clock
from cc_images.engine.events import EventLog, Observer, Over, Stream
from cc_images.errors import CCImagesError, Interrupted
from cc_images.host import root
from cc_images.model.run import State
from cc_images.store import journal
from cc_images.store.image_locks import Busy
from cc_images.store.journal import Journal
from cc_images.store.records import Store
from cc_images.store.run_log import kept
from cc_images.store.workspace import Run


@dataclass(slots=True, kw_only=True)
class OpenRun:
    """A run that has begun. `began` is of the monotonic clock, `now` the same moment in UTC."""

    store: Store
    run: Run
    journal: Journal
    stream: Stream
    began: float
    now: datetime
    complaints: list[str] = field(default_factory=list)
    """What went wrong with the run's own books and folder."""
    refused: CCImagesError | None = None
    """What kept the run from being carried out."""

    @property
    def version(self) -> str:
        """The run's name, which is also the version of what it builds."""
        return self.run.version

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.began


def clear_up(store: Store) -> list[str]:
    """Remove the folders of dead runs, and say in their journals that they died; return their names."""
    reaped = store.reap(root.remove)
    journal.mark_dead(store.root, reaped)
    return reaped


@contextmanager
def opened(
    store: Store, observer: Observer, *, words: Sequence[str], stop: threading.Event, now: datetime | None = None
) -> Iterator[OpenRun]:
    """Begin a run, and end it whatever happens: an error of ours is in `refused` then, a surprise goes up.

    Raises CCImagesError for what keeps the run from having a name and a journal.
    """
    began, now = time.monotonic(), now or clock.now()
    clear_up(store)
    run = store.start_run(now)
    notes = Journal(store.root, run.version)
    log = EventLog(journal.events_path(store.root, run.version))
    stream = Stream([log.on_event, observer.on_event])
    opened = OpenRun(store=store, run=run, journal=notes, stream=stream, began=began, now=now)
    try:
        notes.note(words=list(words), began=now.isoformat())
        with kept(run.version, run.logs / "run.log"):
            yield from _carried_out(opened)
    finally:
        _finish(opened)


def _carried_out(opened: OpenRun) -> Iterator[OpenRun]:
    """Yield the run, and write its last words."""
    notes = opened.journal
    try:
        yield opened
    except CCImagesError as error:
        opened.refused = error
        with suppress(CCImagesError):
            notes.note(state=_state(error), error=error.message, seconds=opened.seconds)
    finally:
        if notes.told["state"] == State.RUNNING:  # a surprise is on its way up
            with suppress(CCImagesError):
                notes.note(state=State.FAILED, error=f"it ended unexpectedly: {sys.exc_info()[1]!r}")
        opened.stream.emit(Over(state=notes.told["state"]))


def _state(error: CCImagesError) -> State:
    """Return how a run ended that was kept from being carried out."""
    if isinstance(error, Busy):
        return State.LEFT
    return State.INTERRUPTED if isinstance(error, Interrupted) else State.FAILED


def _finish(opened: OpenRun) -> None:
    """Remove what the run had of its own; that must not hide what it did."""
    try:
        opened.store.finish_run(opened.run, root.remove)
    except CCImagesError as error:
        opened.complaints.append(f"the run's own folder is not removed: {error.message}")
