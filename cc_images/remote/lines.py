"""The stream of an attempt: what its tasks do and print, a JSON object a line.

{"event": "Step", "task": …, …}      an event of a task (`model.events`)
{"log": "text", "task": …}           what a task has written to its log
{"ended": {"task": …, …}}            the result of a task (`model.plan.Result`)
{"over": code}                       the last line: no process of the attempt is left
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import convert

from cc_images.model.catalog import Json
from cc_images.model.events import Bytes, Started, Step, TaskEvent
from cc_images.model.plain_text import printable

EVENTS: Mapping[str, type[TaskEvent]] = {each.__name__: each for each in (Started, Step, Bytes)}
"""Events that come from builder hosts; images are published by the head alone."""

TICK = 0.1
"""Seconds between two looks at a log."""

LONGEST = 32 << 10
"""Bytes of a log that one line has at most."""


class Lines:
    """Follows the log of one task after the other, and says what is written there."""

    def __init__(self, say: Callable[[Json], None], logs: Path) -> None:
        self._say = say
        self._logs = logs
        self._task, self._path, self._at = "", logs, 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.ended()

    def follow(self, task: str, path: Path) -> None:
        """Follow the log of a task from its beginning."""
        with self._lock:
            self._task, self._path, self._at = task, path, 0

    def ended(self) -> None:
        """Say the rest of the log."""
        with self._lock:
            while self._look(whole=True):
                pass

    def _run(self) -> None:
        while not self._over.wait(TICK):
            with self._lock:
                while self._look():
                    pass

    def _look(self, whole: bool = False) -> bool:
        """Say what has come, the last line only when `whole` or ended; say whether there may be more."""
        if not self._task:
            return False
        try:
            with self._path.open("rb") as log:
                log.seek(self._at)
                found = log.read(LONGEST)
        except OSError:
            return False
        is_full, lines = len(found) == LONGEST, found[: found.rfind(b"\n") + 1]
        if is_full or not whole:  # secrets are looked for in whole lines, but for one that is too long
            found = lines or (found if is_full else b"")
        self._at += len(found)
        if found:
            self._say({"log": found.decode(errors="replace"), "task": self._task})
        return is_full


def event_of(plain: Json) -> TaskEvent | None:
    """Return the event of a line; None for a line that is none."""
    kind = EVENTS.get(str(plain.get("event")))
    if kind is None:
        return None
    try:
        return convert({name: value for name, value in plain.items() if name != "event"}, kind)
    except ValueError:
        return None


def plain_text(text: str, most: int = 500) -> str:
    """Return a text of a builder host without what a terminal takes for a command."""
    return printable(text[:most], instead=" ")


def object_of(text: str | bytes) -> Json:
    """Return the JSON object that a builder host has written; empty for what is none."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return {}
