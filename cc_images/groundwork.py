"""Groundwork: the tasks before a build, for what it starts from and what it relies on.

Owns which layers and twins have to be made, and in which order. Pure, like `planning`, which asks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime

from cc_images.model import Arch, Artifact, Layer
from cc_images.plan import BuildJob, FetchJob, LayerJob, Request, Task, TwinsJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
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

    foundations: Mapping[str, Foundation]
    forced: Set[tuple[str, Arch]]
    request: Request
    version: str
    now: datetime

    def layers(self, job: BuildJob) -> list[Task]:
        """Return the tasks that make the layers which a job relies on, theirs before them; none for those stored."""
        tasks: dict[str, Task] = {}
        for asked in _relies_on(job):
            tasks |= {each.id: each for each in self._layer(self.foundations[asked])}
        return [*tasks.values()]

    def _layer(self, foundation: Foundation) -> list[Task]:
        """Return the task that makes a layer, after those that it needs; none when a stored one serves."""
        layer = foundation.job
        force = (layer.tag, layer.arch) in self.forced
        if force:
            reason = "forced"
        elif foundation.match is None:
            reason = foundation.changed
        elif old := too_old(foundation.match.created, foundation.unsure, self.request, self.now):
            reason = f"the stored one {old}"
        else:
            return []
        below = self.layers(layer)
        fetches = [fetch(artifact) for artifact in layer.artifacts.values()]
        task = Task(
            id=f"{'twins' if isinstance(layer, TwinsJob) else 'layer'} {layer.tag} {layer.arch}",
            job=replace(layer, version=self.version, force=force),
            reason=reason,
            needs=tuple(dict.fromkeys((*needed(layer, below), *(each.id for each in fetches)))),
        )
        return [*below, *fetches, task]


def _relies_on(job: BuildJob) -> tuple[str, ...]:
    """Return what is asked of the layers that a job needs: its twins, and the tree that it starts from."""
    return tuple(asked for asked in (job.twins, job.base.asked if job.base else "") if asked)


def needed(job: BuildJob, layers: Sequence[Task]) -> list[str]:
    """Return those of the tasks that make what a job relies on itself."""
    return [task.id for task in layers if isinstance(task.job, LayerJob) and task.job.asked in _relies_on(job)]


def fetch(artifact: Artifact) -> Task:
    """Return the task that brings an artifact into the store."""
    return Task(
        id=f"fetch {artifact.basename} {artifact.identity}",
        job=FetchJob(artifact=artifact),
        reason="needed by a build",
    )
