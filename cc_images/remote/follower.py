"""The stream of an attempt as the head follows it: log lines and events, handed on to the task that waits for them."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path

from msgspec import convert

from cc_images.model.events import Bytes, Step
from cc_images.model.plan import Result
from cc_images.remote.lines import event_of, object_of, plain_text
from cc_images.store.run_context import TaskContext

BLOCK = 1 << 20
"""Bytes that are read at a time."""

MOST = 8 << 20
"""Bytes of the log of a later task."""

LONGEST = 1 << 20
"""Bytes of a line; the rest of a longer one is no line."""


class Follower:
    """Reads a stream from its beginning. `ended` has the tasks that have ended there, and how."""

    def __init__(self, path: Path) -> None:
        self.ended: dict[str, Result] = {}
        self.over: int | None = None
        """The code of the last line: nothing of the attempt is left."""
        self.later: dict[str, bytearray] = {}
        """Logs of tasks that run there before their turn has come here."""
        self._path = path
        self._at = 0
        self._rest = b""
        self._lines: deque[bytes] = deque()

    def follow(self, context: TaskContext, until: str = "") -> None:
        """Hand on what has come; stop when the task `until` has ended well."""
        while not self.has_ended(until) and (line := self._next()) is not None:
            self._handle(line, context)

    def has_ended(self, task: str) -> bool:
        """Say whether a task has ended well."""
        return task in self.ended and self.ended[task].status.good

    def _next(self) -> bytes | None:
        if not self._lines:
            self._read()
        return self._lines.popleft() if self._lines else None

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                content = file.read(BLOCK)
        except OSError:
            return
        self._at += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        self._lines.extend(lines)
        if len(self._rest) > LONGEST:
            self._rest = b""

    def _handle(self, line: bytes, context: TaskContext) -> None:
        plain = object_of(line)
        if isinstance(log := plain.get("log"), str):
            self._write(str(plain.get("task")), log.encode(errors="replace"), context)
        elif isinstance(code := plain.get("over"), int):
            self.over = code
        elif "ended" in plain:
            with suppress(ValueError):
                result = convert(plain["ended"], Result)
                self.ended[result.task] = result
        else:
            _hand_on(event_of(plain), context)

    def _write(self, task: str, log: bytes, context: TaskContext) -> None:
        """Write what a task has printed into its log; a task whose turn comes later has none yet."""
        if context.task in self.ended and task != context.task:
            kept = self.later.setdefault(task, bytearray())
            kept += log[: MOST - len(kept)]
            return
        context.log.write(log)
        context.log.flush()


def _hand_on(event: object, context: TaskContext) -> None:
    if isinstance(event, Step):
        context.step(plain_text(event.doing, 200))
    elif isinstance(event, Bytes):
        context.bytes(event.done, event.total)


def said_over(stream: Path) -> bool:
    """Say whether the last line of a stream is that of a guard whose attempt is over."""
    try:
        with stream.open("rb") as file:
            file.seek(max(0, stream.stat().st_size - 4096))
            lines = file.read().splitlines()
    except OSError:
        return False
    return bool(lines) and isinstance(object_of(lines[-1]).get("over"), int)
