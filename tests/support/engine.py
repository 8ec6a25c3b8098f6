"""What tests of the engine share: pools of plain functions, and reservations from three tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from cc_images.engine.execute import Reservations, Watch, execute
from cc_images.engine.resources import Reservation
from cc_images.model.plan import Plan, Resource, Result, Task

Amounts = Mapping[str, Mapping[Resource, int]]
"""Amounts by task."""


@dataclass(frozen=True)
class Calls:
    """A pool that calls a function in an executor."""

    perform: Callable[[Task], Result]
    executor: Executor

    def submit(self, task: Task) -> Future[Result]:
        return self.executor.submit(self.perform, task)


def reserved(
    uses: Amounts, until_consumed: Amounts | None = None, kept: Amounts | None = None
) -> dict[str, Reservation]:
    """Return what each task reserves."""
    until_consumed, kept = until_consumed or {}, kept or {}
    return {
        task: Reservation(uses=uses.get(task, {}), until_consumed=until_consumed.get(task, {}), kept=kept.get(task, {}))
        for task in {*uses, *until_consumed, *kept}
    }


def run(
    plan: Plan,
    perform: Callable[[Task], Result],
    executors: Mapping[Resource, Executor],
    limits: Mapping[Resource, int],
    *,
    uses: Amounts | None = None,
    reservations: Reservations | None = None,
    watch: Watch | None = None,
    fail_fast: bool = False,
) -> Mapping[str, Result]:
    """Carry out a plan with a function in place of real tasks."""
    return execute(
        plan,
        lambda task: Calls(perform, executors[task.resource]),
        limits,
        reserved(uses or {}),
        reservations=reservations,
        watch=watch,
        fail_fast=fail_fast,
    )
