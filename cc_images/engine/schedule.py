"""The schedule: which tasks of a plan may start now. Events in, decisions out; no threads, no time.

A task costs what it touches: the tasks that wait for it. Ready tasks that take the same stand in one queue, so a look
at what fits does not look at all that waits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from heapq import heapify, heappop, heappush
from types import MappingProxyType

from cc_images.engine.resources import NOBODY, NOTHING, PLACES, OthersUsage, Reservation, Usage
from cc_images.errors import Reason
from cc_images.model.plan import Plan, Resource, Result, Status, Task

Queue = list[int]
"""A heap of tasks by their places in the plan."""

LANE = 2
"""Tasks of one lane that run at a time."""


class Schedule:
    """The tasks that may start now.

    Every task is started at most once, and only after all its needs succeeded and all it comes after are over. A
    failure blocks exactly its descendants along needs-edges.
    """

    def __init__(
        self,
        plan: Plan,
        limits: Mapping[Resource, int],
        reserved: Mapping[str, Reservation] = MappingProxyType({}),
    ) -> None:
        self._limits = limits
        self._reserved = reserved
        self._tasks = plan.tasks
        self._takes = {task.id: {task.resource: 1, **reserved.get(task.id, NOTHING).uses} for task in plan.tasks}
        self._places = {task.id: place for place, task in enumerate(plan.tasks)}
        self._waiting = {task.id: task for task in plan.tasks}
        self._running: dict[str, Task] = {}
        self._results: dict[str, Result] = {}
        self._missing: dict[str, int] = {}
        """How many of those that a task waits for are not over."""
        self._followers: defaultdict[str, list[Task]] = defaultdict(list)
        self._wanted: Counter[str] = Counter()
        """How many tasks that are not over need a task."""
        self._ready: defaultdict[Resource, dict[object, Queue]] = defaultdict(dict)
        """The tasks that may start, in queues of those that take the same."""
        self._touched: Queue = []
        """Tasks of which something that they wait for has ended since the last `settle`."""
        self._behind: Counter[Resource] = Counter()
        """Resources that ended tasks hold until all that need them are over."""
        self._kept: Counter[Resource] = Counter()
        """Resources that ended tasks hold for good."""
        assert len(self._waiting) == len(plan.tasks), "task ids are unique"
        known: set[str] = set()
        for task in plan.tasks:
            waits_for = {*task.needs, *task.after}
            assert known >= waits_for, f"{task.id} waits for a task that does not stand before it"
            known.add(task.id)
            self._missing[task.id] = len(waits_for)
            self._wanted.update(task.needs)
            for each in waits_for:
                self._followers[each].append(task)
            if not waits_for:
                self._is_free(task)

    @property
    def results(self) -> Mapping[str, Result]:
        """The results so far, in the order in which tasks ended."""
        return self._results

    def settle(self) -> list[Result]:
        """Return new results of tasks that will not run: cached ones, and those whose needs can no longer be met."""
        settled: list[Result] = []
        while self._touched:
            task = self._tasks[heappop(self._touched)]
            if task.id in self._waiting and (result := self._verdict(task)) is not None:
                self._conclude(result)
                settled.append(result)
        return settled

    @property
    def waits(self) -> bool:
        """Whether there are tasks that have not started."""
        return bool(self._waiting)

    def start(self, others: OthersUsage = NOBODY) -> list[Task]:
        """Return the tasks to start now, in the plan's order, and count them as running, beside what others take."""
        used = self._taken() + self._kept
        used.update({each: count for each, count in (others.held + others.gone).items() if each not in PLACES})
        lanes = Counter(task.lane for task in self._running.values())
        chosen: list[Task] = []
        heads = [
            (self._first(queue), number, queue)
            for number, queue in enumerate(self._queues(used))
            if self._first(queue) is not None
        ]
        heapify(heads)
        while heads:
            place, number, queue = heappop(heads)
            assert place is not None
            task = self._tasks[place]
            if self._fits(task, used) and (not task.lane or lanes[task.lane] < LANE):
                heappop(queue)
                used.update(self._takes[task.id])
                lanes[task.lane] += 1
                chosen.append(task)
                if (following := self._first(queue)) is not None:
                    heappush(heads, (following, number, queue))
        if not chosen and not self._running:  # what has been left behind fills everything: go on all the same
            free = (task for task in self._in_order() if not self._must_wait_for(others, task, used))
            chosen += [task for task in [next(free, None)] if task is not None]
        for task in chosen:
            self._running[task.id] = self._waiting.pop(task.id)
        return chosen

    def usage(self, asleep: Collection[str] = ()) -> Usage:
        """Return the run's usage; `asleep` are tasks that wait for another run, and take nothing meanwhile."""
        following = None if self._running else self._next()
        wants = {} if following is None else self._takes[following.id]
        return Usage(takes=self._taken(asleep), keeps=+self._kept, wants=wants)

    def finish(self, result: Result) -> None:
        """Take note of how a running task ended."""
        assert result.task in self._running, f"{result.task} was not running"
        self._conclude(result)

    def abandon(self, error: str) -> list[Result]:
        """Give up all that has not started, and return its results."""
        status, reason = Status.INTERRUPTED, Reason.INTERRUPTED
        left = [Result(task=task, status=status, error=error, reason=reason) for task in self._waiting]
        for result in left:
            self._conclude(result)
        return left

    # -- what is ready ----------------------------------------------------------------------------------------------

    def _is_free(self, task: Task) -> None:
        """Take note that everything is over that a task waits for."""
        if task.cached:
            heappush(self._touched, self._places[task.id])
            return
        alike = (task.lane, tuple(self._takes[task.id].items()))
        heappush(self._ready[task.resource].setdefault(alike, []), self._places[task.id])

    def _queues(self, used: Mapping[Resource, int]) -> Iterator[Queue]:
        """Yield the queues of resources of which a place is free."""
        for resource, queues in self._ready.items():
            if not used[resource] or used[resource] < self._limits[resource]:
                yield from queues.values()

    def _first(self, queue: Queue) -> int | None:
        """Return the place of the first task of a queue that still waits."""
        while queue and self._tasks[queue[0]].id not in self._waiting:
            heappop(queue)
        return queue[0] if queue else None

    def _next(self) -> Task | None:
        """Return the first of the tasks that are ready, in the plan's order."""
        queues = (queue for queues in self._ready.values() for queue in queues.values())
        firsts = (first for queue in queues if (first := self._first(queue)) is not None)
        first = min(firsts, default=None)
        return None if first is None else self._tasks[first]

    def _in_order(self) -> Iterator[Task]:
        """Yield the tasks that are ready, in the plan's order."""
        places = [place for queues in self._ready.values() for queue in queues.values() for place in queue]
        heapify(places)
        while places:
            task = self._tasks[heappop(places)]
            if task.id in self._waiting:
                yield task

    # -- what is taken ----------------------------------------------------------------------------------------------

    def _taken(self, asleep: Collection[str] = ()) -> Counter[Resource]:
        """Return what is taken now: by what runs, and by what ended tasks have left for others."""
        used = +self._behind
        for name in self._running.keys() - asleep:
            used.update(self._takes[name])
        return used

    def _fits(self, task: Task, used: Mapping[Resource, int]) -> bool:
        """Say whether what a task takes is free; what takes more than there is waits until nothing else takes any."""
        takes = self._takes[task.id]
        return all(not used[each] or used[each] + count <= self._limits[each] for each, count in takes.items())

    def _must_wait_for(self, others: OthersUsage, task: Task, used: Mapping[Resource, int]) -> bool:
        """Say whether others hold something of what a task lacks, and are at work or about to be."""
        lacks = [each for each, count in self._takes[task.id].items() if used[each] + count > self._limits[each]]
        return others.at_work and any(others.held[each] for each in lacks)

    # -- what is over -----------------------------------------------------------------------------------------------

    def _conclude(self, result: Result) -> None:
        name = result.task
        task = self._waiting.pop(name, None) or self._running.pop(name)
        self._results[name] = result
        if result.status is Status.DONE:
            self._kept.update(self._reserved.get(name, NOTHING).kept)
            if self._wanted[name]:
                self._behind.update(self._reserved.get(name, NOTHING).until_consumed)
        for need in task.needs:
            self._wanted[need] -= 1
            done = need in self._results and self._results[need].status is Status.DONE
            if done and not self._wanted[need]:
                self._behind.subtract(self._reserved.get(need, NOTHING).until_consumed)
        for follower in self._followers[name]:
            self._missing[follower.id] -= 1
            if not self._missing[follower.id]:
                self._is_free(follower)
            if not result.status.good:
                heappush(self._touched, self._places[follower.id])

    def _verdict(self, task: Task) -> Result | None:
        for need in task.needs:
            before = self._results.get(need)
            if before is not None and not before.status.good:
                status = Status.INTERRUPTED if before.status is Status.INTERRUPTED else Status.BLOCKED
                root = before.error if before.status is Status.BLOCKED else f"{need} {before.status}"
                return Result(task=task.id, status=status, error=root, reason=before.reason)
        if task.cached and not self._missing[task.id]:
            return Result(task=task.id, status=Status.CACHED)
        return None
