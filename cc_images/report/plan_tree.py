"""A plan as people read it before it runs: a tree, image by image, and how long it will take."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from cc_images.model.plan import ConvertJob, FetchJob, Plan, PushJob, Task
from cc_images.report.text import say
from cc_images.report.units import clipped, duration

if TYPE_CHECKING:  # the engine is not needed to show a plan
    from cc_images.engine.forecast import Forecast


def plan_tree(plan: Plan) -> str:
    """Return the plan as an indented tree: per image what is cached, what will run, and why."""
    groups: dict[str, list[Task]] = {}
    group_of = {task.id: _group(task) for task in plan.tasks}
    for task in plan.tasks:
        groups.setdefault(_group(task), []).append(task)
    lines: list[str] = []
    for name, tasks in groups.items():
        lines.append(name)
        for number, task in enumerate(tasks):
            branch = "└─" if number == len(tasks) - 1 else "├─"
            does = "cached" if task.cached else "run"
            waits = [each for each in (*task.needs, *task.after) if group_of[each] != name]
            after = f"  (after {', '.join(waits)})" if waits else ""
            lines.append(f"  {branch} {_verb(task):24} {does:7} {task.reason}{after}")
    run = sum(not task.cached for task in plan.tasks)
    lines.append(f"{run} to run, {len(plan.tasks) - run} cached")
    return "\n".join([*(f"note: {note}" for note in plan.notes), *_left_out(plan), *lines])


def _left_out(plan: Plan) -> list[str]:
    return [f"left out: {each}" for each in plan.left_out]


def expectation(forecast: Forecast) -> str:
    """Return how long a run will take, by what its tasks took before; says so when that is not known."""
    run = [task for task in forecast.plan.tasks if not task.cached]
    if not run:
        return "nothing to do"
    unknown = len(forecast.unknown)
    if unknown == len(run):
        return "no estimate: no earlier run"
    never = f", and {unknown} of {len(run)} tasks without one" if unknown else ""
    return f"about {duration(forecast.remaining())} by earlier runs{never}"


def show_plan(forecast: Forecast, told: TextIO, columns: int = 0) -> None:
    """Show the plan, in so many columns if any; a reader that has gone must not end a run."""
    lines = [*plan_tree(forecast.plan).splitlines(), expectation(forecast)]
    with suppress(OSError, ValueError):
        say("\n".join(clipped(line, columns) if columns else line for line in lines) + "\n", to=told)


def _group(task: Task) -> str:
    return "artifacts" if isinstance(task.job, FetchJob) else f"{task.job.tag} {task.job.arch}"


def _verb(task: Task) -> str:
    match task.job:
        case ConvertJob():
            return f"convert to {', '.join(task.job.formats)}"
        case PushJob():
            return f"push to {task.job.site}" + task.id.partition(f"to {task.job.site}")[2]
        case FetchJob():
            return f"fetch {task.job.artifact.basename}"
    return task.id.partition(" ")[0]
