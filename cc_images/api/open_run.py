"""Open runs: a run's name, folder, lock, journal, log and stream of events, from its beginning to its end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from cc_images import clock
from cc_images.config.loader import Config
from cc_images.engine.events import EventLog, Observer, Over, Stream, Waiting
from cc_images.errors import CCImagesError, Interrupted
from cc_images.host import root
from cc_images.model.catalog import Arch
from cc_images.model.run import IfBusy, State
from cc_images.store import image_locks, journal
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
    """Faults in the run's own books and folder."""
    refused: CCImagesError | None = None
    """The error that kept the run from being carried out."""

    @property
    def version(self) -> str:
        """The run's name, which is also the version of what it builds."""
        return self.run.version

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.began

    def take_turn(self, images: Collection[tuple[str, Arch]], if_busy: IfBusy, stop: threading.Event) -> None:
        """Mark the images that the run works on; wait for, or leave to, another run that has them.

        Raises Busy, and Interrupted when `stop` is set meanwhile.
        """
        image_locks.take(self.store, self.run, images, if_busy, on_wait=self._say_blocked, stop=stop)

    def note_end(self, *, failed: bool, stopped: bool) -> None:
        """Write into the journal how a run without a plan has ended. Raises CCImagesError for a full store."""
        state = State.INTERRUPTED if stopped else State.FAILED if failed else State.OK
        self.journal.note(state=state, seconds=self.seconds)

    def _say_blocked(self, blocker: str) -> None:
        self.stream.emit(Waiting(blocker=blocker))


def clear_up(store: Store) -> list[str]:
    """Remove the folders of dead runs, and say in their journals that they died; return their names."""
    reaped = store.reap(root.remove)
    journal.mark_dead(store.root, reaped)
    return reaped


@contextmanager
def opened(config: Config, observer: Observer, *, words: Sequence[str], stop: threading.Event) -> Iterator[OpenRun]:
    """Begin a run, and always end it: `refused` has an error of ours, any other exception propagates.

    Raises CCImagesError for what keeps the run from having a name and a journal.
    """
    store, began, now = Store(config.store, stop), time.monotonic(), clock.now()
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
                notes.note(state=State.FAILED, error=f"the run ended unexpectedly: {sys.exc_info()[1]!r}")
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
        opened.complaints.append(f"cannot remove the run's folder: {error.message}")
