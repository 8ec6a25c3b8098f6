"""Progress while a run is at work: lines in a log, one JSON event a line for programs, or bars on a terminal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from cc_images.engine.events import Observer
from cc_images.model.plan import Result, Status
from cc_images.report.bars import Bars
from cc_images.report.plan_tree import show_plan
from cc_images.report.text import SIGNS
from cc_images.report.units import duration, size

if TYPE_CHECKING:  # the engine and what it takes are not needed to show a list or a plan
    from cc_images.engine.forecast import Forecast

EVENTS: Mapping[str, tuple[str, ...]] = {
    "waiting": ("whom",),
    "planned": ("run", "plan", "usual", "remaining", "unknown"),
    "started": ("task", "usual"),
    "step": ("task", "doing"),
    "bytes": ("task", "done", "total"),
    "ended": ("task", "status", "error", "hint", "reason", "log", "tail", "seconds", "started", "size", "where",
              "version", "place", "timings", "peaks"),
    "finished": ("run", "state", "exit_code", "summary", "seconds", "counts", "journal", "report"),
    "failed": ("message", "hint", "reason", "exit_code"),
}  # fmt: skip
"""The events of `--json` and what each has besides `event` and `time`; docs/events.md says what it means."""


def display(
    out: TextIO, *, quiet: bool, verbose: bool, events: bool, told: TextIO, term: str = "dumb", colours: bool = True
) -> Observer:
    """Return the observer that shows a run: events on `told`, bars on a terminal, else lines; the plan goes to `told`.

    `term` is the kind of terminal, as in the variable TERM.
    """
    if events:
        return Events(told)
    if out.isatty() and term != "dumb" and not (quiet or verbose):
        return Bars(out, told, colours)
    return Lines(out, told, quiet, verbose)


class Lines(Observer):
    """One line for every phase and, of bytes, every ten seconds, each with the task's name: for logs and pipes."""

    EVERY = 10.0

    def __init__(self, out: TextIO, told: TextIO, quiet: bool = False, verbose: bool = False) -> None:
        self._out = out
        self._told = told
        self._quiet = quiet
        self._verbose = verbose
        self._forecast: Forecast | None = None
        self._said: dict[str, float] = {}
        self._phase: dict[str, str] = {}
        self._began: dict[str, float] = {}
        self._lock = threading.Lock()

    def on_wait(self, blocker: str) -> None:
        """Print the blocker."""
        self._print(f"waiting: {blocker}")

    def on_plan(self, forecast: Forecast) -> None:
        """Show the plan."""
        self._forecast = forecast
        if not self._quiet:
            show_plan(forecast, self._told)

    def on_task_started(self, task: str) -> None:
        """Print that a task has begun, and how long it usually takes."""
        self._began[task] = time.monotonic()
        usual = self._forecast.usual.get(task) if self._forecast else None
        self._say(task, f"started, usually {duration(usual)}" if usual is not None else "started")

    def on_step(self, task: str, doing: str) -> None:
        """Print a task's present step; unless verbose, once for all hooks of a phase."""
        phase = doing if self._verbose else doing.partition("/")[0]
        if self._phase.get(task) != phase:
            self._phase[task] = phase
            self._say(task, phase)

    def on_bytes(self, task: str, done: int, total: int) -> None:
        """Print the bytes every few seconds."""
        now = time.monotonic()
        if now - self._said.setdefault(task, now) >= self.EVERY:
            self._said[task] = now
            self._say(task, f"{size(done)} of {size(total)}" if total else size(done))

    def on_task_ended(self, result: Result) -> None:
        """Print how a task ended."""
        note = f": {result.error}" if result.error else f": {result.where}" if result.where else ""
        self._say(result.task, SIGNS[result.status] + note, even_quiet=result.status is Status.FAILED)

    def _say(self, task: str, text: str, even_quiet: bool = False) -> None:
        since = f"{time.monotonic() - self._began[task]:6.1f}s" if task in self._began else " " * 7
        self._print(f"[{task}] {since} {text}", even_quiet)

    def _print(self, line: str, even_quiet: bool = False) -> None:
        if not self._quiet or even_quiet:
            with self._lock, suppress(OSError, ValueError):  # a reader that has gone must not end a build
                print(line, file=self._out, flush=True)


class Events(Observer):
    """One JSON object a line; see EVENTS."""

    EVERY = 1.0

    def __init__(self, told: TextIO) -> None:
        self._told = told
        self._forecast: Forecast | None = None
        self._said: dict[str, float] = {}
        self._lock = threading.Lock()

    def on_wait(self, blocker: str) -> None:
        """Write an event that names the blocker."""
        self.tell("waiting", whom=blocker)

    def on_plan(self, forecast: Forecast) -> None:
        """Write the plan and its forecast."""
        self._forecast = forecast
        self.tell(
            "planned",
            run=forecast.plan.version,
            plan=forecast.plan.as_json(),
            usual=dict(forecast.usual),
            remaining=forecast.remaining(),
            unknown=list(forecast.unknown),
        )

    def on_task_started(self, task: str) -> None:
        """Write that a task has begun."""
        self.tell("started", task=task, usual=self._forecast.usual.get(task) if self._forecast else None)

    def on_step(self, task: str, doing: str) -> None:
        """Write a task's present step."""
        self.tell("step", task=task, doing=doing)

    def on_bytes(self, task: str, done: int, total: int) -> None:
        """Write the bytes once a second, and at the end."""
        now = time.monotonic()
        if done == total or now - self._said.get(task, 0.0) >= self.EVERY:
            self._said[task] = now
            self.tell("bytes", task=task, done=done, total=total)

    def on_task_ended(self, result: Result) -> None:
        """Write how a task ended."""
        self.tell("ended", **result.as_json())

    def tell(self, event: str, **said: Any) -> None:
        """Write one event."""
        assert set(said) == set(EVENTS[event]), f"{event} has {', '.join(EVENTS[event])}"
        line = json.dumps({"event": event, "time": round(time.time(), 3)} | said, default=str)
        with self._lock, suppress(OSError, ValueError):
            print(line, file=self._told, flush=True)
