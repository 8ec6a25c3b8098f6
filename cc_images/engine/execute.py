"""The engine: starts what the schedule allows, and says when a run is over.

It knows no builder, no file and no clock. Each task goes to the pool in which it is placed; threads, processes or
another machine are the caller's choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Protocol

from cc_images.engine.resources import NOBODY, OthersUsage, Reservation, Usage
from cc_images.engine.schedule import Schedule
from cc_images.model.plan import Plan, Resource, Result, Status, Task

Decide = Callable[[OthersUsage, Collection[str]], Usage]
"""Starts what fits beside the usage of others, and returns the run's own usage without the tasks that are asleep."""

TICK = 0.2
"""Seconds between two looks at whether the run was asked to stop."""


class Pool(Protocol):
    """A place where tasks are done."""

    def submit(self, task: Task) -> Future[Result]:
        """Begin a task. The result never raises."""


class Reservations(Protocol):
    """The book in which a run reserves its share of a host that others use, too."""

    def share(self, decide: Decide) -> None:
        """Call `decide` once, with the usage of other runs, and with the tasks of this one that wait for another run.

        No other run may start anything until it has returned.
        """

    def idle(self) -> None:
        """Handle a moment in which the usage of others lets nothing start."""


class Alone:
    """The reservations of a run that has its host to itself."""

    def share(self, decide: Decide) -> None:
        """Call `decide` without others."""
        decide(NOBODY, ())

    def idle(self) -> None:
        """Do nothing: there is no other run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Callbacks of the caller of `execute`. Once `stopping` returns true, nothing new starts."""

    on_task_ended: Callable[[Result], None] = lambda result: None
    """Called with each result as it comes, from the thread of `execute`."""
    stopping: Callable[[], bool] = lambda: False


def execute(
    plan: Plan,
    place: Callable[[Task], Pool],
    limits: Mapping[Resource, int],
    reserved: Mapping[str, Reservation] | None = None,
    *,
    reservations: Reservations | None = None,
    watch: Watch | None = None,
    fail_fast: bool = False,
) -> Mapping[str, Result]:
    """Carry out the plan and return a result for every task.

    `reserved` has what each task takes besides its place. After a failure with `fail_fast` nothing new starts; what
    runs is awaited (ending it early is the pool's business).
    """
    schedule = Schedule(plan, limits, reserved or {})
    reservations, watch = reservations or Alone(), watch or Watch()
    futures: dict[Future[Result], Task] = {}
    failed = False

    def decide(others: OthersUsage, asleep: Collection[str]) -> Usage:
        for task in schedule.start(others):
            futures[place(task).submit(task)] = task
        assert futures or not schedule.waits or others.at_work, "something can start, or is waited for"
        return schedule.usage(asleep)

    while True:
        for result in schedule.settle():
            watch.on_task_ended(result)
        if watch.stopping() or (fail_fast and failed):
            for result in schedule.abandon("not started: " + ("interrupted" if watch.stopping() else "--fail-fast")):
                watch.on_task_ended(result)
        reservations.share(decide)
        if not futures and not schedule.waits:
            assert len(schedule.results) == len(plan.tasks), "every task has a result"
            return schedule.results
        if not futures:
            reservations.idle()
            time.sleep(TICK)
        for future in wait(futures, timeout=TICK, return_when=FIRST_COMPLETED).done:
            del futures[future]
            result = future.result()
            schedule.finish(result)
            failed |= result.status is Status.FAILED
            watch.on_task_ended(result)
