"""Events of a run: a typed stream of what happens, and who observes it.

The stream is kept in `runs/<run>/events.jsonl` of the store, one JSON object a line, in the order in which things
happened; lines are only ever appended. Terminal, JSON output and journal are folds of it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cc_images.engine.forecast import Forecast
from cc_images.model.catalog import Json
from cc_images.model.events import Bytes, Published, Started, Step, TaskEvent
from cc_images.model.plan import Result

FORMAT = 1

EVERY = 1.0
"""Seconds between two lines about the bytes of one task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The run waits for another one; `blocker` names that, in words."""

    blocker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The plan is made; nothing has run."""

    forecast: Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A task is over, or will never begin."""

    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """The run has ended in a state of `store.journal.State`."""

    state: str


Event = TaskEvent | Waiting | Planned | Ended | Over

NAMES: Mapping[type[Event], str] = {
    Waiting: "waiting",
    Planned: "planned",
    Started: "started",
    Step: "step",
    Bytes: "bytes",
    Published: "published",
    Ended: "ended",
    Over: "over",
}


class Observer:
    """Observes a run, from any thread. Each method does nothing unless a kind of observer overrides it."""

    def on_event(self, event: Event) -> None:
        """Call the method for the kind of an event."""
        match event:
            case Started(task=task):
                self.on_task_started(task)
            case Step(task=task, doing=doing):
                self.on_step(task, doing)
            case Bytes(task=task, done=done, total=total):
                self.on_bytes(task, done, total)
            case Published():
                self.on_published(event)
            case Waiting(blocker=blocker):
                self.on_wait(blocker)
            case Planned(forecast=forecast):
                self.on_plan(forecast)
            case Ended(result=result):
                self.on_task_ended(result)
            case Over(state=state):
                self.on_over(state)

    def on_wait(self, blocker: str) -> None:
        """Handle a run that blocks; `blocker` names the other run."""

    def on_plan(self, forecast: Forecast) -> None:
        """Handle the plan, before anything runs."""

    def on_task_started(self, task: str) -> None:
        """Handle the beginning of a task."""

    def on_step(self, task: str, doing: str) -> None:
        """Handle what a task does now."""

    def on_bytes(self, task: str, done: int, total: int) -> None:
        """Handle the bytes that a task has moved: `done` of `total` (0: not known)."""

    def on_published(self, event: Published) -> None:
        """Handle an image that a site has under its name now."""

    def on_task_ended(self, result: Result) -> None:
        """Handle the end of a task, also of one that never begins."""

    def on_over(self, state: str) -> None:
        """Handle the end of the run."""

    def close(self) -> None:
        """Release what the observer holds: nothing more will come."""


class EventLog:
    """The file of a run's stream. A store that is full costs lines of it, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said: dict[str, float] = {}

    def on_event(self, event: Event) -> None:
        """Append an event; of bytes one a second for each task, and the last one."""
        if isinstance(event, Bytes) and not self._is_due(event):
            return
        line = json.dumps(encoded(event), sort_keys=True, default=str).encode() + b"\n"
        with suppress(OSError):
            self._append(line)

    def _append(self, line: bytes) -> None:
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(file, line)  # whole, since others append, too
        finally:
            os.close(file)

    def _is_due(self, event: Bytes) -> bool:
        now = time.monotonic()
        if event.done != event.total and now - self._said.get(event.task, 0.0) < EVERY:
            return False
        self._said[event.task] = now
        return True


class Stream:
    """Hands each event to all observers, one event at a time; an observer that fails is the caller's failure."""

    def __init__(self, observers: Sequence[Callable[[Event], None]]) -> None:
        self._observers = observers
        self._lock = threading.RLock()

    def emit(self, event: Event) -> None:
        """Hand an event on."""
        with self._lock:
            for observer in self._observers:
                observer(event)


def encoded(event: Event) -> Json:
    """Return an event as its line has it: `event`, `time` in seconds since 1970, and its own keys."""
    line: Json = {"event": NAMES[type(event)], "time": round(time.time(), 3), "format": FORMAT}
    match event:
        case Planned(forecast=forecast):
            return line | {"run": forecast.plan.version, "tasks": len(forecast.plan.tasks)}
        case Ended(result=result):
            return line | result.as_json()
        case _:
            return line | asdict(event)
