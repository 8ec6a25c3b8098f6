"""Visits every state of a model, or goes long random ways through it.

A state is a value that can be hashed; `moves` gives everything that can happen next, each with its label, so that a
path to a broken rule is a list of calls.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Broken(AssertionError):
    """A rule does not hold."""


S = TypeVar("S")


class World(Protocol[S]):
    """A model: what can happen next, and what must be so."""

    def moves(self, state: S) -> Iterator[tuple[str, S]]:
        """Return everything that can happen next, each with its label. Raises Broken."""

    def rests(self, state: S) -> bool:
        """Say whether nobody is at work."""

    def settle(self, state: S) -> None:
        """Bring a state in which nobody is at work into order. Raises Broken when that does not succeed."""

    def shown(self, state: S) -> Iterable[str]:
        """Return what is there, a line each."""


@dataclass(frozen=True, slots=True)
class Explored:
    """How much was looked at."""

    states: int
    moves: int
    ends: int
    """States in which nobody was at work, from each of which everything was brought into order."""


def explore(world: World[S], start: S, limit: int = 10**9) -> Explored:
    """Visit every state that can be reached, at most `limit`; raise Broken with the calls that break a rule."""
    came: dict[S, tuple[S, str] | None] = {start: None}
    todo: deque[S] = deque([start])
    made, ends = 0, 0
    while todo and len(came) < limit:
        state = todo.popleft()
        try:
            if world.rests(state):
                ends += 1
                world.settle(state)
            for label, reached in world.moves(state):
                made += 1
                if reached not in came:
                    came[reached] = state, label
                    todo.append(reached)
        except Broken as broken:
            raise Broken(f"{broken}\n{_told(_way(came, state), world.shown(state))}") from broken
    return Explored(len(came), made, ends)


def wander(
    world: World[S],
    start: S,
    choose: random.Random,
    settle: Callable[[S], None] | None = None,
    most: int | None = None,
) -> int:
    """Go one long way at random, of `most` calls, and bring its end into order; return how many calls it had."""
    state, labels = start, list[str]()
    try:
        while (most is None or len(labels) < most) and (found := list(world.moves(state))):
            label, state = choose.choice(found)
            labels.append(label)
        (settle or world.settle)(state)
    except Broken as broken:
        raise Broken(f"{broken}\n{_told(labels, world.shown(state))}") from broken
    return len(labels)


def _way(came: dict[S, tuple[S, str] | None], state: S) -> list[str]:
    """Return how a state was reached, a call each."""
    labels: list[str] = []
    while (step := came[state]) is not None:
        state, label = step
        labels.append(label)
    return labels[::-1]


def _told(labels: Iterable[str], shown: Iterable[str]) -> str:
    lines = (f"  {label}" for label in labels)
    return "\n".join(["after these calls:", *lines, "there is:", *(f"  {line}" for line in shown)])
