"""The engine: decides which task may start, and when a run is over.

Owns scheduling only. It knows no dib, no file and no clock; tasks are done by a `perform` function on executors that
the caller supplies, so threads, processes or another machine are the caller's choice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from types import MappingProxyType
from typing import Protocol

from cc_images.plan import NOBODY, PLACES, Elsewhere, Plan, Resource, Result, Stand, Status, Task

Books = Mapping[str, Mapping[Resource, int]]
"""What tasks take besides their places, such as cores and memory, by id."""

Perform = Callable[[Task], Result]
"""Does a task, and says how it ended; it never raises."""

Decide = Callable[[Elsewhere, Collection[str]], Stand]
"""Starts what fits beside what others take, and returns how the run stands then without the tasks that are asleep."""

LANE = 2
"""Tasks of one lane that run at a time."""

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


class Schedule:
    """What may start now: events in, decisions out. No threads, no time.

    Every task is started at most once, and only after all its needs succeeded and all it comes after are over. A
    failure blocks exactly its descendants along needs-edges.
    """

    def __init__(
        self,
        plan: Plan,
        limits: Mapping[Resource, int],
        books: Books = MappingProxyType({}),
        leaves: Books = MappingProxyType({}),
        keeps: Books = MappingProxyType({}),
    ) -> None:
        self._limits = limits
        self._leaves, self._keeps = leaves, keeps
        self._takes = {task.id: {task.resource: 1, **books.get(task.id, {})} for task in plan.tasks}
        self._waiting = {task.id: task for task in plan.tasks}
        self._running: dict[str, Task] = {}
        self._results: dict[str, Result] = {}
        assert len(self._waiting) == len(plan.tasks), "task ids are unique"
        known: set[str] = set()
        for task in plan.tasks:
            assert known >= {*task.needs, *task.after}, f"{task.id} waits for a task that does not stand before it"
            known.add(task.id)

    @property
    def results(self) -> Mapping[str, Result]:
        """The results so far, in the order in which tasks ended."""
        return self._results

    def settle(self) -> list[Result]:
        """Return new results of tasks that will not run: cached ones, and those whose needs can no longer be met."""
        settled: list[Result] = []
        progress = True
        while progress:
            progress = False
            for task in list(self._waiting.values()):
                result = self._verdict(task)
                if result is not None:
                    self._conclude(result)
                    settled.append(result)
                    progress = True
        return settled

    @property
    def waits(self) -> bool:
        """Whether there are tasks that have not started."""
        return bool(self._waiting)

    def start(self, elsewhere: Elsewhere = NOBODY) -> list[Task]:
        """Return the tasks to start now, in the plan's order, and count them as running, beside what others take."""
        used = self._taken() + self._kept()
        used.update({each: count for each, count in (elsewhere.held + elsewhere.gone).items() if each not in PLACES})
        lanes = Counter(task.lane for task in self._running.values())
        chosen: list[Task] = []
        for task in self._waiting.values():
            free = self._fits(task, used) and (not task.lane or lanes[task.lane] < LANE)
            if free and self._is_ready(task):
                used.update(self._takes[task.id])
                lanes[task.lane] += 1
                chosen.append(task)
        if not chosen and not self._running:  # what has been left behind fills everything: go on all the same
            chosen += [task for task in self._ready() if not self._must_wait_for(elsewhere, task, used)][:1]
        for task in chosen:
            self._running[task.id] = self._waiting.pop(task.id)
        return chosen

    def stand(self, asleep: Collection[str] = ()) -> Stand:
        """Return how the run stands; `asleep` are tasks that wait for another run's, and take nothing meanwhile."""
        following = [] if self._running else self._ready()[:1]
        wants = self._takes[following[0].id] if following else {}
        return Stand(takes=self._taken(asleep), keeps=self._kept(), wants=wants)

    def _ready(self) -> list[Task]:
        return [task for task in self._waiting.values() if self._is_ready(task)]

    def _is_ready(self, task: Task) -> bool:
        return not task.cached and self._results.keys() >= {*task.needs, *task.after}

    def _taken(self, asleep: Collection[str] = ()) -> Counter[Resource]:
        """Return what is taken now: by what runs, and by what ended tasks have left for others."""
        used: Counter[Resource] = Counter()
        for name in self._running.keys() - asleep:
            used.update(self._takes[name])
        wanted = {need for task in (*self._waiting.values(), *self._running.values()) for need in task.needs}
        for name in self._done():
            used.update(self._leaves.get(name, {}) if name in wanted else {})
        return used

    def _kept(self) -> Counter[Resource]:
        """Return what ended tasks have left for good."""
        used: Counter[Resource] = Counter()
        for name in self._done():
            used.update(self._keeps.get(name, {}))
        return used

    def _done(self) -> list[str]:
        return [name for name, result in self._results.items() if result.status is Status.DONE]

    def _fits(self, task: Task, used: Mapping[Resource, int]) -> bool:
        """Say whether what a task takes is free; what takes more than there is waits until nothing else takes any."""
        takes = self._takes[task.id]
        return all(not used[each] or used[each] + count <= self._limits[each] for each, count in takes.items())

    def _must_wait_for(self, elsewhere: Elsewhere, task: Task, used: Mapping[Resource, int]) -> bool:
        """Say whether others hold something of what a task lacks, and are at work or about to be."""
        lacks = [each for each, count in self._takes[task.id].items() if used[each] + count > self._limits[each]]
        return elsewhere.at_work and any(elsewhere.held[each] for each in lacks)

    def finish(self, result: Result) -> None:
        """Take note of how a running task ended."""
        assert result.task in self._running, f"{result.task} was not running"
        self._conclude(result)

    def abandon(self, error: str) -> list[Result]:
        """Give up all that has not started, and return its results."""
        left = [
            Result(task=task, status=Status.INTERRUPTED, error=error, reason="interrupted") for task in self._waiting
        ]
        for result in left:
            self._conclude(result)
        return left

    def _conclude(self, result: Result) -> None:
        self._waiting.pop(result.task, None)
        self._running.pop(result.task, None)
        self._results[result.task] = result

    def _verdict(self, task: Task) -> Result | None:
        for need in task.needs:
            before = self._results.get(need)
            if before is not None and not before.status.good:
                status = Status.INTERRUPTED if before.status is Status.INTERRUPTED else Status.BLOCKED
                root = before.error if before.status is Status.BLOCKED else f"{need} {before.status}"
                return Result(task=task.id, status=status, error=root, reason=before.reason)
        if task.cached and self._results.keys() >= {*task.needs, *task.after}:
            return Result(task=task.id, status=Status.CACHED)
        return None


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

    def decide(elsewhere: Elsewhere, asleep: Collection[str]) -> Stand:
        for task in schedule.start(elsewhere):
            futures[executors[task.resource].submit(perform, task)] = task
        assert futures or not schedule.waits or elsewhere.at_work, "something can start, or is waited for"
        return schedule.stand(asleep)

    while True:
        for result in schedule.settle():
            observe(result)
        failed = any(result.status is Status.FAILED for result in schedule.results.values())
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
            observe(result)
