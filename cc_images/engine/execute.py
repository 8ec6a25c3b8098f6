"""The engine: starts what the schedule allows, and says when a run is over.

It knows no dib, no file and no clock; tasks are done by a `perform` function on executors that the caller supplies, so
threads, processes or another machine are the caller's choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from types import MappingProxyType
from typing import Protocol

from cc_images.engine.resources import NOBODY, OthersUsage, Usage
from cc_images.engine.schedule import Books, Schedule
from cc_images.model.plan import Plan, Resource, Result, Status, Task

Perform = Callable[[Task], Result]
"""Does a task, and says how it ended; it never raises."""

Decide = Callable[[OthersUsage, Collection[str]], Usage]
"""Starts what fits beside what others take, and returns how the run stands then without the tasks that are asleep."""

TICK = 0.2
"""Seconds between two looks at whether the run was asked to stop."""


class Desk(Protocol):
    """Where a run books what it takes of a host that it shares."""

    def share(self, decide: Decide) -> None:
        """Call `decide` once, with what other runs take, and with the tasks of this one that wait for another run's.

        No other run may start anything until it has returned.
        """

    def idle(self) -> None:
        """Hear that nothing can start because of what others take."""


class Alone:
    """The desk of a run that shares its host with nobody."""

    def share(self, decide: Decide) -> None:
        """See the engine's Desk."""
        decide(NOBODY, ())

    def idle(self) -> None:
        """See the engine's Desk."""


ALONE = Alone()


def run(
    plan: Plan,
    perform: Perform,
    executors: Mapping[Resource, Executor],
    limits: Mapping[Resource, int],
    *,
    books: Books = MappingProxyType({}),
    leaves: Books = MappingProxyType({}),
    keeps: Books = MappingProxyType({}),
    desk: Desk = ALONE,
    observe: Callable[[Result], None] = lambda result: None,
    stopping: Callable[[], bool] = lambda: False,
    fail_fast: bool = False,
) -> Mapping[str, Result]:
    """Carry out the plan and return a result for every task.

    `books` says what tasks take besides their places, `leaves` what they go on taking until all that need them are
    over, `keeps` what they take until the run ends. The `desk` is asked before anything starts, and told the end.
    `observe` is told each result as it comes, from the calling thread. Once `stopping` says so, or after a failure with
    `fail_fast`, nothing new starts; what runs is awaited (ending it early is `perform`'s business).
    """
    schedule = Schedule(plan, limits, books, leaves, keeps)
    futures: dict[Future[Result], Task] = {}
    failed = False

    def decide(elsewhere: OthersUsage, asleep: Collection[str]) -> Usage:
        for task in schedule.start(elsewhere):
            futures[executors[task.resource].submit(perform, task)] = task
        assert futures or not schedule.waits or elsewhere.at_work, "something can start, or is waited for"
        return schedule.stand(asleep)

    while True:
        for result in schedule.settle():
            observe(result)
        if stopping() or (fail_fast and failed):
            for result in schedule.abandon("not started: " + ("interrupted" if stopping() else "--fail-fast")):
                observe(result)
        desk.share(decide)
        if not futures and not schedule.waits:
            assert len(schedule.results) == len(plan.tasks), "every task has a result"
            return schedule.results
        if not futures:
            desk.idle()
            time.sleep(TICK)
        for future in wait(futures, timeout=TICK, return_when=FIRST_COMPLETED).done:
            del futures[future]
            result = future.result()
            schedule.finish(result)
            failed |= result.status is Status.FAILED
            observe(result)
