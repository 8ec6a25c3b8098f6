"""Builds that stop after a phase of hooks: the requests that make sense, and the tasks.

Such a build is no build: it is neither looked up nor recorded, and nothing follows from it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cc_images.errors import UserError
from cc_images.model.phases import OF_TREES, PHASES
from cc_images.model.plan import BuildJob, Request, Task
from cc_images.planner.image_state import ImageState
from cc_images.planner.layers import LayerState, LayerTasks, fetch


def require_sense(request: Request) -> None:
    """Raise UserError for options about unfinished builds that do not go with the rest of a request."""
    if request.keep_failed and not request.build:
        raise UserError("--keep-failed is about builds, and none is asked for", hint="add -b")
    if not request.until:
        return
    if request.until not in PHASES:
        raise UserError(f"--until {request.until}: dib has no such phase", hint=f"its phases are {', '.join(PHASES)}")
    if request.version or request.promote or request.push:
        raise UserError("--until makes no build, so there is nothing to push", hint="leave out -p, or --until")
    if not request.build:
        raise UserError("--until is about builds, and none is asked for", hint="add -b")
    if request.force:
        raise UserError(
            "--until builds in any case, and replaces nothing that is stored",
            hint="leave out -f, or --until to rebuild completely",
        )
    if request.sites:
        raise UserError("--until makes no build, so no site is concerned", hint="leave out -s, or --until")


def stopping(
    state: ImageState, layer_tasks: LayerTasks, layer_states: Mapping[str, LayerState], until: str, version: str
) -> list[Task]:
    """Return the tasks of a build that stops after a phase.

    An image from which others start goes through the hooks of its tree in its layer, so that is built as far.
    """
    job, of = state.job, "the image"
    own = _own_layer(state, layer_states) if until in OF_TREES else None
    if own is not None:
        job, of = replace(job, spec=own.spec), "the image's layer"
    layers = layer_tasks.layers(job)
    fetches = [fetch(artifact) for artifact in job.spec.artifacts.values()]
    build = Task(
        id=f"build {state.label}",
        job=replace(job, version=version, force=True, known=(), serves="", until=until),
        reason=f"{of} until {until}, and no further: its tree is kept, nothing is converted or recorded",
        needs=tuple(dict.fromkeys([*(task.id for task in fetches), *layer_tasks.needed(job)])),
    )
    return [*layers, *fetches, build]


def _own_layer(state: ImageState, layer_states: Mapping[str, LayerState]) -> BuildJob | None:
    """Return the layer of an image that its own disk starts from, if there is one."""
    for key in state.job.spec.relies_on:
        job = layer_states[key].job
        if job.spec.builder == state.job.spec.builder and (job.tag, job.arch) == (state.image.tag, state.arch):
            return job
    return None
