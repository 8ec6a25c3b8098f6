"""Bars on a terminal: one for the whole run, and one for each task that runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from cc_images.engine.events import Observer
from cc_images.model.plan import Result, Status
from cc_images.report import usual_shares
from cc_images.report.plan_tree import show_plan
from cc_images.report.running import Running, bar_of
from cc_images.report.text import SIGNS
from cc_images.report.units import clipped, clock_time, duration

if TYPE_CHECKING:
    from cc_images.engine.forecast import Forecast


SPARING = 30
"""How many times as long as it took a look ahead serves."""

COLOURS: Mapping[Status, int] = {
    Status.DONE: 32,
    Status.CACHED: 36,
    Status.FAILED: 31,
    Status.BLOCKED: 33,
    Status.INTERRUPTED: 33,
}
"""ANSI colours: green, cyan, red, yellow."""


class Gathered:
    """A terminal that gets each drawing in one piece.

    One that becomes narrower in the middle of a drawing moves the lines below the cursor, and what is drawn then is
    somewhere else than what is cleared later.
    """

    def __init__(self, out: TextIO) -> None:
        self.encoding = out.encoding
        self._out = out
        self._held: list[str] = []

    def write(self, text: str) -> None:
        """Keep a text for the next piece."""
        self._held.append(text)

    def flush(self) -> None:
        """Send nothing yet."""

    def send(self) -> None:
        """Send what was written. Raises OSError and ValueError when the terminal is gone; then it is forgotten."""
        text, self._held = "".join(self._held), []
        if text:
            self._out.write(text)
            self._out.flush()

    def fileno(self) -> int:
        """Return the terminal's descriptor."""
        return self._out.fileno()

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return self._out.isatty()


class Bars(Observer):
    """A tqdm bar for the whole run and one per running task: what it does, bytes and rate, the time left."""

    EVERY = 0.5

    def __init__(self, out: TextIO, told: TextIO, colours: bool = True) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._out = Gathered(out)
        self._told = told
        self._blocks = "█░" if (out.encoding or "").lower().startswith("utf") else "#-"
        self._colours = colours
        self._forecast: Forecast | None = None
        self._whole: Any = None
        self._began = time.monotonic()
        self._tasks: dict[str, tuple[Running, Any]] = {}
        self._over: set[str] = set()
        self._drawn = 0
        """Columns for which the bars were drawn last."""
        self._expected = (0.0, 0.0)
        """When the forecast was made, and the seconds that were left then."""
        self._foreseen_until = 0.0
        """Until when that must do: looking ahead may take long where there are many tasks."""
        self._stale = False
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def on_wait(self, blocker: str) -> None:
        """Print the blocker."""
        with self._drawing():
            self._tqdm.write(f"waiting: {blocker}", file=self._out)

    def on_plan(self, forecast: Forecast) -> None:
        """Show the plan, and open the bar of the whole run when there is something to do."""
        with self._drawing():
            show_plan(forecast, self._told, self._columns() if self._told.isatty() else 0)
            self._forecast = forecast
            self._began = time.monotonic()
            if any(not task.cached for task in forecast.plan.tasks):
                self._whole = self._open()
            self._foresee()
            self._draw()

    def on_task_started(self, task: str) -> None:
        """Open the task's bar."""
        with self._drawing():
            usual = self._forecast.usual.get(task) if self._forecast else None
            job = (
                next((each.job for each in self._forecast.plan.tasks if each.id == task), None)
                if self._forecast
                else None
            )
            self._tasks[task] = Running(name=task, began=time.monotonic(), usual=usual, job=job), self._open()
            self._foresee()
            self._draw()

    def on_step(self, task: str, doing: str) -> None:
        """Show what a task does now."""
        with self._drawing():
            if task in self._tasks:  # a line of output may come late
                self._tasks[task][0].step(doing)
                self._draw(task)

    def on_bytes(self, task: str, done: int, total: int) -> None:
        """Move the bar; it is drawn when its time comes."""
        with self._drawing():
            if task in self._tasks:
                self._tasks[task][0].move(time.monotonic(), done, total)

    def on_task_ended(self, result: Result) -> None:
        """Close the bar and leave one line."""
        with self._drawing():
            self._over.add(result.task)
            _, bar = self._tasks.pop(result.task, (None, None))
            if bar is not None:
                bar.close()
                self._move_up()
            note = f": {result.error}" if result.error else ""
            took = f"  {duration(result.seconds)}" if result.seconds >= 1 else ""
            sign = self._coloured(f"{SIGNS[result.status]:8}", COLOURS[result.status])
            self._tqdm.write(f"{sign} {result.task}{took}{note}", file=self._out)
            self._foresee()
            self._draw()

    def close(self) -> None:
        """Remove what is left of the bars."""
        self._closed.set()
        self._ticker.join()
        with self._drawing():
            for bar in filter(lambda bar: bar is not None, [*(bar for _, bar in self._tasks.values()), self._whole]):
                bar.close()
            self._tasks.clear()
            self._whole = None

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Draw alone, and go on without a terminal that has gone: the run decides about its end, not its display."""
        with self._lock, suppress(OSError, ValueError):
            yield
            self._out.send()

    def _tick(self) -> None:
        """Keep the clocks going while tasks have nothing to say."""
        while not self._closed.wait(self.EVERY):
            with self._drawing():
                if self._stale or not self._tasks:  # the whole run waits: no time is left less than a moment ago
                    self._foresee()
                self._draw()

    def _open(self) -> Any:
        # the text is ours, trimmed to the terminal; tqdm keeps bars, and what is printed above them, apart
        _, lines = self._shape()
        return self._tqdm(total=None, file=self._out, leave=False, ncols=10_000, nrows=lines, bar_format="{desc}")

    def _move_up(self) -> None:
        """Leave no gap where a bar was closed."""
        for place, (_, bar) in enumerate(self._tasks.values(), 1):
            if bar.pos != place:
                bar.clear()
                bar.pos = place

    def _draw(self, only: str = "") -> None:
        now, columns = time.monotonic(), self._columns()
        if columns < self._drawn:  # the terminal has broken our lines into several: begin on clean ground
            self._out.write("\r\033[J")
            for _, bar in self._tasks.values():
                bar.sp = bar.status_printer(self._out)  # it pads to what it wrote last
            if self._whole is not None:
                self._whole.sp = self._whole.status_printer(self._out)
        self._drawn = columns
        self._out.write("\033[?7l")  # no line is broken, also when the terminal has just become narrower
        for name, (running, bar) in self._tasks.items():
            if not only or name == only:
                bar.set_description_str(self._tinted(running.line(now, columns, self._blocks)))
        if self._whole is not None and not only:
            self._whole.set_description_str(self._tinted(clipped(self._sum(now), columns)))
        # a terminal that breaks lines again takes the cursor along; at their beginning it stays
        self._out.write("\033[?7h\r")

    def _sum(self, now: float) -> str:
        assert self._forecast is not None
        tasks = self._forecast.plan.tasks
        when, left = self._expected
        ahead = [name for name in self._forecast.unknown if name not in self._over]
        still, took = left - (now - when), now - self._began
        part = self._part() if ahead or still <= 0 else took / (took + still)
        bar = bar_of(part, 12 if self._columns() < 100 else 20, self._blocks)
        words = f"{len(self._over)} of {len(tasks)} tasks  {bar}  {clock_time(took)}"
        if still > 0:
            words += f", about {clock_time(still)} left"
        if ahead:
            beside = "besides " if still > 0 else ""
            words += f" ({beside}{len(ahead)} task{'s' * (len(ahead) > 1)} without an earlier run)"
        return words

    def _part(self) -> float:
        """Return how much of the run is done by the usual shares of its tasks."""
        assert self._forecast is not None
        run = [task for task in self._forecast.plan.tasks if not task.cached]
        ended = sum(usual_shares.weight(task.job) for task in run if task.id in self._over)
        going = sum(usual_shares.weight(each.job) * (each.part or 0.0) for each, _ in self._tasks.values() if each.job)
        return (ended + going) / (sum(usual_shares.weight(task.job) for task in run) or 1.0)

    def _foresee(self) -> None:
        now = time.monotonic()
        self._stale = now < self._foreseen_until
        if self._forecast is not None and not self._stale:
            running = {name: now - task.began for name, (task, _) in self._tasks.items()}
            self._expected = now, self._forecast.remaining(self._over, running)
            took = time.monotonic() - now
            self._foreseen_until = now + took * SPARING

    def _columns(self) -> int:
        return max(20, self._shape()[0] - 1)

    def _shape(self) -> tuple[int, int]:
        """Return columns and lines of the terminal; a serial console may not know them."""
        try:
            columns, lines = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            columns, lines = 0, 0
        return columns or 80, lines or 24

    def _tinted(self, line: str) -> str:
        full = self._blocks[0]
        first = line.find(full)
        if not self._colours or first < 0 or full == "#":
            return line
        last = line.rfind(full) + 1
        return line[:first] + self._coloured(line[first:last], 36) + line[last:]

    def _coloured(self, text: str, colour: int) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colours else text
