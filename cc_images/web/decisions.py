"""Decisions of the queue: the next step with each build, given what was observed. Pure.

A build is waiting, running or over in the database. Before a process is launched, the database says that the build is
running: so no process is ever unknown, and a build that is said to run without one was left by a service that died.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

LAUNCHES = 3
"""Processes that may end before they have a plan, one after the other, before a build has failed."""

PATIENCE = 300.0
"""Seconds that a run gets to stop before it is ended at once."""


class Status(StrEnum):
    """How a build stands, as a requester sees it."""

    PENDING = "PENDING"
    STARTED = "STARTED"
    BUILDING = "BUILDING"
    CONVERTING = "CONVERTING"
    TESTING = "TESTING"
    PUSHING = "PUSHING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A build that is not over. `alive`: a process of it lives; `planned`: it has had a plan, so it may have built."""

    number: int
    accounts: tuple[int, ...] = ()
    """The accounts that still want it."""
    running: bool = False
    cancelled: bool = False
    alive: bool = False
    planned: bool = False
    ended: str = ""
    """The state in which its run has ended, by the run's own word; empty: there is none."""
    message: str = ""
    launches: int = 0
    stopping: float | None = None
    """Seconds since it was asked to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Note that the build runs, then launch a process."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Ask the process to stop."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Note how the build has ended."""

    number: int
    status: Status
    message: str = ""


Step = Launch | Stop | Close
Rule = Callable[[Observed], Step | None]


def a_build_that_nobody_wants_does_not_begin(build: Observed) -> Step | None:
    """Close a waiting build that was cancelled."""
    if not build.running and build.cancelled:
        return Close(number=build.number, status=Status.CANCELLED)
    return None


def a_run_that_nobody_wants_is_stopped(build: Observed) -> Step | None:
    """Ask a living run to stop, and once more when it takes too long."""
    if build.running and build.cancelled and build.alive and (build.stopping is None or build.stopping > PATIENCE):
        return Stop(number=build.number)
    return None


def the_word_of_a_run_counts(build: Observed) -> Step | None:
    """Close a build whose run is over and has said how it ended."""
    if not build.running or build.alive or not build.ended:
        return None
    if build.ended == "ok":
        return Close(number=build.number, status=Status.FINISHED)
    if build.cancelled:
        return Close(number=build.number, status=Status.CANCELLED)
    return Close(number=build.number, status=Status.FAILED, message=build.message or f"the run has {build.ended}")


def a_run_that_died_has_failed(build: Observed) -> Step | None:
    """Close a build whose run had a plan and died without a word: it is not done twice."""
    if not build.running or build.alive or build.ended or not build.planned:
        return None
    if build.cancelled:
        return Close(number=build.number, status=Status.CANCELLED)
    return Close(number=build.number, status=Status.FAILED, message="the run was killed; request it again")


def a_run_that_never_began_is_launched_again(build: Observed) -> Step | None:
    """Launch a build again whose process ended before it had a plan, a few times."""
    if not build.running or build.alive or build.ended or build.planned:
        return None
    if build.cancelled:
        return Close(number=build.number, status=Status.CANCELLED)
    if build.launches >= LAUNCHES:
        return Close(number=build.number, status=Status.FAILED, message=build.message or "the run did not begin")
    return Launch(number=build.number)


RULES: Sequence[Rule] = (
    a_build_that_nobody_wants_does_not_begin,
    a_run_that_nobody_wants_is_stopped,
    the_word_of_a_run_counts,
    a_run_that_died_has_failed,
    a_run_that_never_began_is_launched_again,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many builds may run: in all, and of one account, with exceptions by account."""

    places: int
    of_account: int
    exceptions: Mapping[int, int] = field(default_factory=dict)


def decide(builds: Sequence[Observed], room: Room, rules: Sequence[Rule] = RULES) -> list[Step]:
    """Return the steps for builds that are not over, in the order of the queue."""
    steps: list[Step] = []
    for build in builds:
        step = next((found for rule in rules if (found := rule(build)) is not None), None)
        if step is not None:
            steps.append(step)
    touched = {step.number for step in steps}
    running = [build for build in builds if build.running]
    taken, free = Counter(each for build in running for each in build.accounts), room.places - len(running)
    for build in builds:
        if free <= 0:
            break
        if build.running or build.number in touched or not _has_room(build, taken, room):
            continue
        steps.append(Launch(number=build.number))
        taken.update(build.accounts)
        free -= 1
    return steps


def _has_room(build: Observed, taken: Mapping[int, int], room: Room) -> bool:
    """Say whether one of those who want a build may run one more."""
    return any(taken.get(each, 0) < room.exceptions.get(each, room.of_account) for each in build.accounts)
