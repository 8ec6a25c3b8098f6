"""Leases of the images that a run builds: each is released once the image's build and conversion are over."""

from __future__ import annotations

from cc_images.model.catalog import Arch
from cc_images.model.plan import ConvertJob, Plan, Result
from cc_images.store.run_context import RunContext


class ImageLeases:
    """The leases that tasks of a plan take for their run."""

    def __init__(self, plan: Plan, run: RunContext) -> None:
        self._run = run
        self._left: dict[tuple[str, Arch], set[str]] = {}
        """For each image the tasks that are not over."""
        self._images: dict[str, tuple[str, Arch]] = {}
        for task in plan.tasks:
            if isinstance(task.job, ConvertJob):
                image = task.job.tag, task.job.arch
                self._left[image] = {task.id, *task.needs}
                self._images |= dict.fromkeys(self._left[image], image)

    def ended(self, result: Result) -> None:
        """Release the lease of an image of which no task is left; a conversion may be given up amid its build."""
        if (image := self._images.get(result.task)) is not None:
            self._left[image].discard(result.task)
            if not self._left[image]:
                self._run.release_image(*image)
