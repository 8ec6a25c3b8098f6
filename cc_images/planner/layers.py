"""The tasks before a build that make the layers and twins it needs.

Owns which layers and twins have to be made, and in which order. Pure, like `planner.planner`, which calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch, Download
from cc_images.model.plan import BuildJob, FetchJob, LayerJob, Request, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerState:
    """A layer that builds may start from, and the stored one that serves."""

    job: LayerJob
    match: Layer | None
    """The newest stored layer of this recipe whose upstream has not moved, as far as that is known."""
    unsure: str = ""
    """Why nobody can say whether upstream has moved since; empty when it was asked."""
    changed: str = ""
    """Why no stored layer serves, in a phrase."""


def too_old(created: datetime, unsure: str, request: Request, now: datetime) -> str:
    """Return why something made at a time is not trusted, or an empty text. Age counts only if upstream is unknown."""
    days = (now - created).total_seconds() / 86400
    if not unsure or days <= request.max_age:
        return ""
    return f"is {days:.0f} days old, more than --max-age {request.max_age}, and {unsure}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTasks:
    """The layers that the builds of a plan may start from, by recipe key; `forced` names whose layers are rebuilt."""

    layer_states: Mapping[str, LayerState]
    forced: Set[tuple[str, Arch]]
    request: Request
    version: str
    now: datetime
    planned: dict[str, str] = field(default_factory=dict)
    """The task that makes each layer that was asked for so far; empty for one that is stored."""

    def layers(self, job: BuildJob) -> list[Task]:
        """Return the tasks that make the layers which a job relies on, theirs before them.

        None for those stored or returned before. Not recursive, since chains of parents may be long.
        """
        tasks: list[Task] = []
        stack = [*job.spec.relies_on]
        while stack:
            key = stack[-1]
            if key in self.planned:
                stack.pop()
                continue
            layer = self.layer_states[key]
            if not (reason := self._reason(layer)):
                self.planned[key] = ""
            elif pending := [each for each in layer.job.spec.relies_on if each not in self.planned]:
                stack += pending
            else:
                fetches = [fetch(artifact) for artifact in layer.job.spec.artifacts.values()]
                tasks += [*fetches, self._task(layer.job, reason, fetches)]
                self.planned[key] = tasks[-1].id
        return tasks

    def needed(self, job: BuildJob) -> list[str]:
        """Return the ids of the tasks that make what a job relies on itself; `layers` has been called for it."""
        return [task for key in job.spec.relies_on if (task := self.planned[key])]

    def _task(self, layer: LayerJob, reason: str, fetches: Sequence[Task]) -> Task:
        return Task(
            id=f"{layer.spec.noun} {layer.tag} {layer.arch}",
            job=replace(layer, version=self.version, force=self._is_forced(layer)),
            reason=reason,
            needs=tuple(dict.fromkeys((*self.needed(layer), *(each.id for each in fetches)))),
        )

    def _reason(self, layer: LayerState) -> str:
        """Return why a layer has to be made; empty when a stored one serves."""
        if self._is_forced(layer.job):
            return "forced"
        if layer.match is None:
            return layer.changed
        old = too_old(layer.match.created, layer.unsure, self.request, self.now)
        return f"the stored one {old}" if old else ""

    def _is_forced(self, layer: LayerJob) -> bool:
        return (layer.tag, layer.arch) in self.forced


def fetch(artifact: Download) -> Task:
    """Return the task that brings an artifact into the store."""
    return Task(
        id=f"fetch {artifact.basename} {artifact.identity}",
        job=FetchJob(artifact=artifact),
        reason="needed by a build",
    )
