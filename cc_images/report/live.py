"""Live output: the logs of tasks as they are written, and a line for what begins and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from cc_images.model.plain_text import printable
from cc_images.model.plan import Result
from cc_images.report.progress import Lines

if TYPE_CHECKING:
    from cc_images.engine.forecast import Forecast

TICK = 0.1
"""Seconds between two looks at logs."""

BLOCK = 1 << 16
"""Bytes of a log that are read at a time."""


class Live(Lines):
    """Lines on `out`, and each line of each log on `told`; `log_of` returns the log of a run's task."""

    def __init__(self, out: TextIO, told: TextIO, log_of: Callable[[str, str], Path]) -> None:
        super().__init__(out, told)
        self._logs_to, self._log_of = told, log_of
        self._run = ""
        self._follows: dict[str, tuple[int, bytes]] = {}
        """Tasks at work: where the next byte of each log is, and the beginning of a line."""
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="live output", daemon=True)
        self._thread.start()

    def on_plan(self, forecast: Forecast) -> None:
        """Show the plan."""
        self._run = forecast.plan.version
        super().on_plan(forecast)

    def on_task_started(self, task: str) -> None:
        """Follow the task's log."""
        super().on_task_started(task)
        with self._guard:
            self._follows[task] = (0, b"")

    def on_task_ended(self, result: Result) -> None:
        """Print the rest of the task's log, and how it ended."""
        with self._guard:
            if result.task in self._follows:
                self._look(result.task, whole=True)
                del self._follows[result.task]
        super().on_task_ended(result)

    def close(self) -> None:
        """Follow no more."""
        self._over.set()
        self._thread.join()
        super().close()

    def _follow(self) -> None:
        while not self._over.wait(TICK):
            with self._guard:
                for task in [*self._follows]:
                    self._look(task)

    def _look(self, task: str, whole: bool = False) -> None:
        """Print what has come, the last line only when it has ended, or `whole`."""
        at, rest = self._follows[task]
        try:
            with self._log_of(self._run, task).open("rb") as log:
                log.seek(at)
                while content := log.read(BLOCK):
                    at += len(content)
                    *lines, rest = (rest + content).split(b"\n")
                    self._say_lines(lines)
        except OSError:
            return
        if whole and rest:
            self._say_lines([rest])
            rest = b""
        self._follows[task] = (at, rest)

    def _say_lines(self, lines: list[bytes]) -> None:
        text = "".join(f"{_shown(each)}\n" for each in lines)
        with self._lock, suppress(OSError, ValueError):  # a reader that has gone must not end a build
            self._logs_to.write(text)
            self._logs_to.flush()


def _shown(line: bytes) -> str:
    """Return a line without what a terminal takes for a command."""
    text = line.decode(errors="replace").rstrip("\r")
    return printable(text, "\t", " ")
