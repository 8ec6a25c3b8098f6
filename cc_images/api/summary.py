"""The summary of a run: what became of each image, what changed in it, and which tasks the run had to wait for.

Plain data for the journal; a view of a run needs nothing else.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cc_images.boottest import contents
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Json
from cc_images.model.plan import BootJob, BuildJob, ConvertJob, FetchJob, LayerJob, Plan, PushJob, Result, Status, Task

AT_ONCE = 1.0
"""Seconds within which one task follows another at once: the engine looks five times a second."""

SAME = 0.3
"""Seconds by which the clocks of two tasks that follow each other may disagree."""

LARGEST = 12
"""Folders of an image whose sizes are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A build, and what its record tells of it."""

    build: Build
    details: Json = field(default_factory=dict)

    @property
    def contents(self) -> Json:
        """Its contents: as found by a look inside, or its packages alone as dib has listed them."""
        return self.details.get("contents") or {"packages": self.details.get("packages", {})}


def images(
    plan: Plan,
    results: Mapping[str, Result],
    before: Mapping[tuple[str, Arch], Known],
    stored: Callable[[str, Arch, str], Known | None],
) -> list[Json]:
    """Return what became of each image of a plan.

    `before` has the newest builds from before the run; `stored` finds a build by tag, architecture and version.
    """
    found: list[Json] = []
    for (tag, arch), tasks in _by_image(plan).items():
        mine = [(task.job, results[task.id]) for task in tasks if task.id in results]
        converted = [result for job, result in mine if isinstance(job, ConvertJob)]
        built = any(result.status is Status.DONE and result.version == plan.version for result in converted)
        version = next((result.version for _, result in mine if result.version), "")
        old = before.get((tag, arch))
        new = stored(tag, arch, version or (old.build.version if old else ""))
        said: Json = {
            "image": tag,
            "arch": arch,
            "version": new.build.version if new else "",
            "before": old.build.version if old and new and old.build.version != new.build.version else "",
            "built": built,
            "ok": all(result.status.good for _, result in mine),
            "sites": [_put(job, result) for job, result in mine if isinstance(job, PushJob)],
        }
        found.append(said | (_inside(new, old if said["before"] else None) if new else {}))
    return found


def _inside(new: Known, old: Known | None) -> Json:
    sizes = new.contents.get("sizes", {})
    return {
        "size": min(output.size for output in new.build.outputs.values()),
        "disk": max(output.virtual_size for output in new.build.outputs.values()),
        "size_before": min(output.size for output in old.build.outputs.values()) if old else None,
        "packages": new.build.packages,
        "boot": new.details.get("boot"),
        "sizes": dict(sorted(sizes.items(), key=lambda item: -item[1])[:LARGEST]),
        "rest": sum(sorted(sizes.values(), reverse=True)[LARGEST:]),
        "compared": contents.known(old.contents) and contents.known(new.contents) if old else False,
        "changes": contents.differences(old.contents, new.contents) if old else None,
    }


def critical(plan: Plan, results: Mapping[str, Result]) -> list[str]:
    """Return the critical path of a run: the chain of tasks, each started when the one before ended, to its very end.

    A task that began as soon as its last need was met waited for that; one that began later waited for a place, which
    somebody left just before.
    """
    ran = {task.id: results[task.id] for task in plan.tasks if task.id in results and results[task.id].seconds > 0}
    tasks = {task.id: task for task in plan.tasks}
    if not ran:
        return []
    ended = sorted(ran, key=lambda name: _end(ran[name]))
    ends = [_end(ran[name]) for name in ended]
    path = [ended[-1]]  # backwards
    while True:
        first, begun = path[-1], ran[path[-1]].started
        needs = [each for each in (*tasks[first].needs, *tasks[first].after) if each in ran]
        ready = max((_end(ran[each]) for each in needs), default=0.0)
        latest_first = sorted(needs, key=lambda name: -_end(ran[name]))
        before: Sequence[str] = [each for each in latest_first if ran[each].started < begun]
        if begun - ready > AT_ONCE:
            window = ended[bisect_left(ends, begun - AT_ONCE) : bisect_right(ends, begun + SAME)]
            left = [each for each in reversed(window) if ran[each].started < begun]
            before = [each for each in left if tasks[each].resource is tasks[first].resource] or left or before
        if (last := next(iter(before), None)) is None:
            return path[::-1]
        path.append(last)


def counts(results: Mapping[str, Result], plan: Plan) -> dict[str, int]:
    """Return how many images were built, kept half-built and pushed, and how many tasks failed or were not done."""
    jobs = {task.id: task.job for task in plan.tasks}
    done = [jobs[name] for name, result in results.items() if result.status is Status.DONE and name in jobs]
    builds = [job for job in done if isinstance(job, BuildJob) and not isinstance(job, LayerJob)]
    stopped = sum(bool(job.until) for job in builds)
    left_out = {"left out": len(plan.left_out)} if plan.left_out else {}
    kept = {"kept": stopped} if stopped else {}
    return left_out | {
        "built": len(builds) - stopped,
        **kept,
        "pushed": sum(isinstance(job, PushJob) for job in done),
        "tested": sum(isinstance(job, BootJob) for job in done),
        "unchanged": sum(result.status is Status.CACHED for result in results.values()),
        "failed": sum(result.status is Status.FAILED for result in results.values()),
        "not done": sum(result.status in (Status.BLOCKED, Status.INTERRUPTED) for result in results.values()),
    }


def _end(result: Result) -> float:
    return result.started + result.seconds


def _by_image(plan: Plan) -> dict[tuple[str, Arch], list[Task]]:
    """Return the tasks of each image; downloads and layers are of none."""
    found: dict[tuple[str, Arch], list[Task]] = {}
    for task in plan.tasks:
        if not isinstance(task.job, (FetchJob, LayerJob)):
            found.setdefault((task.job.tag, task.job.arch), []).append(task)
    return found


def _put(job: PushJob, result: Result) -> Json:
    return {
        "site": job.site,
        "name": job.name,
        "format": job.format,
        "status": result.status,
        "version": result.version,
        "where": result.where,
        "error": result.error,
    }
