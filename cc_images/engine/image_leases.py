"""Leases of the images that a run builds: each is released once the image's build and conversion are over."""

from __future__ import annotations

from cc_images.model.plan import ConvertJob, Plan, Result
from cc_images.store.leases import image_lease
from cc_images.store.run_context import RunContext


class ImageLeases:
    """The leases that tasks of a plan take for their run."""

    def __init__(self, plan: Plan, run: RunContext) -> None:
        self._run = run
        self._left: dict[str, set[str]] = {}
        """For each lease the tasks that are not over."""
        self._names: dict[str, str] = {}
        for task in plan.tasks:
            if isinstance(task.job, ConvertJob):
                name = image_lease(task.job.tag, task.job.arch)
                self._left[name] = {task.id, *task.needs}
                self._names |= dict.fromkeys(self._left[name], name)

    def ended(self, result: Result) -> None:
        """Release the lease of an image of which no task is left; a conversion may be given up amid its build."""
        if (name := self._names.get(result.task)) is not None:
            self._left[name].discard(result.task)
            if not self._left[name]:
                self._run.release(name)
