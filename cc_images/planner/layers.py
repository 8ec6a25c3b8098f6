"""Groundwork: the tasks before a build, for what it starts from and what it relies on.

Owns which layers and twins have to be made, and in which order. Pure, like `planning`, which asks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from cc_images.model.catalog import Arch, Download, Layer
from cc_images.model.plan import BuildJob, FetchJob, LayerJob, Request, Task, TwinsJob


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
    """Return why something made at a time is not trusted, or an empty string. Age counts only where nobody can say."""
    days = (now - created).total_seconds() / 86400
    if not unsure or days <= request.max_age:
        return ""
    return f"is {days:.0f} days old, more than --max-age {request.max_age}, and {unsure}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Groundwork:
    """What all builds of a plan may start from, by what is asked of it; `forced` names whose layers are made anew."""

    foundations: Mapping[str, LayerState]
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
        stack = [*_relies_on(job)]
        while stack:
            asked = stack[-1]
            if asked in self.planned:
                stack.pop()
                continue
            foundation = self.foundations[asked]
            if not (reason := self._reason(foundation)):
                self.planned[asked] = ""
            elif pending := [each for each in _relies_on(foundation.job) if each not in self.planned]:
                stack += pending
            else:
                fetches = [fetch(artifact) for artifact in foundation.job.artifacts.values()]
                tasks += [*fetches, self._task(foundation.job, reason, fetches)]
                self.planned[asked] = tasks[-1].id
        return tasks

    def needed(self, job: BuildJob) -> list[str]:
        """Return the ids of the tasks that make what a job relies on itself; `layers` has been called for it."""
        return [task for asked in _relies_on(job) if (task := self.planned[asked])]

    def _task(self, layer: LayerJob, reason: str, fetches: Sequence[Task]) -> Task:
        return Task(
            id=f"{'twins' if isinstance(layer, TwinsJob) else 'layer'} {layer.tag} {layer.arch}",
            job=replace(layer, version=self.version, force=self._is_forced(layer)),
            reason=reason,
            needs=tuple(dict.fromkeys((*self.needed(layer), *(each.id for each in fetches)))),
        )

    def _reason(self, foundation: LayerState) -> str:
        """Return why a layer has to be made; empty when a stored one serves."""
        if self._is_forced(foundation.job):
            return "forced"
        if foundation.match is None:
            return foundation.changed
        old = too_old(foundation.match.created, foundation.unsure, self.request, self.now)
        return f"the stored one {old}" if old else ""

    def _is_forced(self, layer: LayerJob) -> bool:
        return (layer.tag, layer.arch) in self.forced


def _relies_on(job: BuildJob) -> tuple[str, ...]:
    """Return what is asked of the layers that a job needs: its twins, and the tree that it starts from."""
    return tuple(asked for asked in (job.twins, job.base.asked if job.base else "") if asked)


def fetch(artifact: Download) -> Task:
    """Return the task that brings an artifact into the store."""
    return Task(
        id=f"fetch {artifact.basename} {artifact.identity}",
        job=FetchJob(artifact=artifact),
        reason="needed by a build",
    )
