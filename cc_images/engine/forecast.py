"""The forecast: how long a run will still take, by what its tasks took before.

Plays the engine's own schedule through with those times, so it knows of limits and of what waits for what.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from cc_images.engine.capacity import Bookings
from cc_images.engine.schedule import Schedule
from cc_images.model.plan import Plan, Result, Status, Task
from cc_images.store.durations import History

SHORTEST = 1.0
"""Seconds that a task is expected to go on for when it has already taken longer than usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The expected course of a plan: `usual` has the seconds that its tasks take, as far as they ever ran."""

    plan: Plan
    bookings: Bookings
    usual: Mapping[str, float]

    @property
    def unknown(self) -> tuple[str, ...]:
        """The tasks that will run and of which no earlier run is known."""
        return tuple(task.id for task in self.plan.tasks if not task.cached and task.id not in self.usual)

    def remaining(self, over: Collection[str] = (), running: Mapping[str, float] | None = None) -> float:
        """Return the seconds until the last task ends.

        `over` names tasks that have ended, `running` how long the others have been running. Tasks that never ran before
        count as nothing, so with `unknown` ones the answer is a lower bound.
        """
        running = running or {}
        left = {task.id: task for task in self.plan.tasks if task.id not in over and not task.cached}
        ordered = [*(task for task in left.values() if task.id in running)]
        ordered += [task for task in left.values() if task.id not in running]
        tasks = tuple(
            replace(
                task,
                needs=tuple(need for need in task.needs if need in left and task.id not in running),
                after=tuple(each for each in task.after if each in left and task.id not in running),
            )
            for task in ordered
        )
        schedule = self._schedule(tasks)
        now, ends = 0.0, list[tuple[float, str]]()
        while True:
            for task in schedule.start():
                heapq.heappush(ends, (now + self._left(task.id, running.get(task.id, 0.0)), task.id))
            if not ends:
                return now
            now, ended = heapq.heappop(ends)
            schedule.finish(Result(task=ended, status=Status.DONE))

    def _schedule(self, tasks: tuple[Task, ...]) -> Schedule:
        return Schedule(replace(self.plan, tasks=tasks), self.bookings.limits, self.bookings.reserved)

    @classmethod
    def of(cls, plan: Plan, bookings: Bookings, history: History, parents: Mapping[str, str]) -> Forecast:
        """Return the forecast by what tasks took before; `parents` has the tag of each image's first parent.

        A task that never ran counts as that of its nearest ancestor that did.
        """
        found = {task.id: took for task in plan.tasks if (took := _usual(task, history, parents)) is not None}
        return cls(plan=plan, bookings=bookings, usual=found)

    def _left(self, task: str, elapsed: float) -> float:
        usual = self.usual.get(task)
        if usual is None:
            return 0.0
        return max(SHORTEST, usual - elapsed) if elapsed else usual


def _usual(task: Task, history: History, parents: Mapping[str, str]) -> float | None:
    took, tag = history.seconds(task.id), getattr(task.job, "tag", "")
    while took is None and (parent := parents.get(tag)):
        took = history.seconds(task.id.replace(f" {task.job.tag} ", f" {parent} "))  # type: ignore[union-attr]
        tag = parent
    return took
