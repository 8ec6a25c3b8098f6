"""The books of a run: its journal, the costs of its tasks, and its publications."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from cc_images import clock
from cc_images.api import summary
from cc_images.api.summary import Known
from cc_images.errors import CCImagesError
from cc_images.host.files import clear_errors
from cc_images.model.catalog import Arch
from cc_images.model.plan import BuildJob, Plan, PushJob, Result
from cc_images.model.run import State
from cc_images.model.status import Put
from cc_images.planner.image_state import ImageState
from cc_images.store.durations import History
from cc_images.store.journal import Journal
from cc_images.store.published import Published
from cc_images.store.records import Store

Before = Mapping[tuple[str, Arch], Known]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The books of one run. `began` is of the monotonic clock."""

    store: Store
    journal: Journal
    began: float

    def open(self, plan: Plan, states: Iterable[ImageState]) -> Before:
        """Note the plan; return the newest builds of the images that it builds again, which it may remove."""
        self.journal.note(plan=plan.as_json(), results=[])
        builds = [task.job for task in plan.tasks if isinstance(task.job, BuildJob) and not task.cached]
        made = {(job.tag, job.arch) for job in builds}
        return {
            (each.image.tag, each.arch): Known(build=each.newest, details=self.store.details(each.newest))
            for each in states
            if each.newest is not None and (each.image.tag, each.arch) in made
        }

    def name_in_force(self, states: Iterable[ImageState]) -> None:
        """Point the human names at the stored builds that serve: an older one does when a change was taken back."""
        for each in states:
            serves = each.match
            if serves is not None and serves.version != self.store.current(each.image.tag, each.arch):
                with suppress(OSError):  # another user's store
                    self.store.point_names(serves, each.image.published_name(each.arch))

    def close(self, plan: Plan, before: Before, results: Mapping[str, Result], stopped: bool) -> list[str]:
        """Write the books; return what went wrong with them."""
        good = all(result.status.good for result in results.values()) and not plan.left_out
        partial = {task.id for task in plan.tasks if isinstance(task.job, BuildJob) and task.job.until}
        state = State.INTERRUPTED if stopped else State.OK if good else State.FAILED
        try:
            self.journal.note(
                state=state,
                results=[result.as_json() for result in results.values()],
                seconds=time.monotonic() - self.began,
                images=summary.images(plan, results, before, self._known),
                critical=summary.critical(plan, results),
                counts=summary.counts(results, plan),
            )
            with self.store.lock("books"), clear_errors(self.store.root):
                History(self.store.root).add(results[name] for name in results if name not in partial)
                Published(self.store.root).add(*_puts(plan, results))
            if state is State.OK and not partial:
                self.journal.mark_success()
        except CCImagesError as error:
            return [f"the books of the run are incomplete: {error.message}"]
        except OSError as error:
            return [f"the books of the run are incomplete: {error}"]
        return []

    def _known(self, tag: str, arch: Arch, version: str) -> Known | None:
        build = self.store.build(tag, arch, version)
        return Known(build=build, details=self.store.details(build)) if build is not None else None


def _puts(plan: Plan, results: Mapping[str, Result]) -> list[Put]:
    """Return what is on the sites now, as the pushes of a run have found or made it."""
    now = clock.now().timestamp()
    return [
        Put(
            site=job.site,
            name=job.name,
            tag=job.tag,
            arch=job.arch,
            version=result.version,
            since=now,
            seen=now,
            place=result.place,
            format=job.format,
        )
        for task in plan.tasks
        if isinstance(job := task.job, PushJob) and (result := results[task.id]).status.good and result.version
    ]
