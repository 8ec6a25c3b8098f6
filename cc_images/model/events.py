"""Events of tasks: the values in a run's stream, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A task has begun."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A task does something now: a hook of dib, a level of a boot test, or words."""

    task: str
    doing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """A task has moved `done` of `total` bytes; 0 in all: not known."""

    task: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A site has an image under its name."""

    task: str
    site: str
    name: str
    version: str


TaskEvent = Started | Step | Bytes | Published

Emit = Callable[[TaskEvent], None]
"""Takes an event; it may be called from any thread, and never raises."""


def ignore(event: TaskEvent) -> None:
    """Take an event and do nothing."""
