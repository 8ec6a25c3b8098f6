"""Events of a run, as those who watch it hear them."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Who is told how far a task is."""

    def started(self, task: str) -> None:
        """Hear that a task has begun."""

    def step(self, task: str, doing: str) -> None:
        """Hear what a task does now."""

    def bytes(self, task: str, done: int, total: int) -> None:
        """Hear that a task has moved `done` of `total` bytes (0: not known)."""
