"""The planner: from a request and the state of its images to the plan.

Owns `make_plan`, which is pure: same input, same plan. It knows neither dib nor files; the state of the world
arrives as ImageState and LayerState.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from cc_images.errors import UserError
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Format, Material
from cc_images.model.container import configured
from cc_images.model.plan import ConvertJob, Plan, PushJob, Request, Task
from cc_images.model.site import Site
from cc_images.planner.image_state import ImageState, is_held
from cc_images.planner.layers import LayerState, LayerTasks, fetch, too_old
from cc_images.planner.partial import stopping
from cc_images.planner.pushes import Serving, complete, push_tasks, require_something, wanted
from cc_images.sites.targets import formats_for


def make_plan(
    request: Request,
    image_states: Sequence[ImageState],
    sites: Sequence[Site],
    *,
    version: str,
    now: datetime,
    layer_states: Mapping[str, LayerState] = MappingProxyType({}),
    passes: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Return the graph of tasks that fulfils the request; what is built gets `version`.

    `sites` are all that are configured: whether one of a later wave gets a version depends on those before it.
    `image_states` has parents before children. `layer_states` has each layer that one of them may start from, by recipe
    key; the plan makes a layer only when a build needs it, and forces it only with its own image. `passes` has the test
    keys of files that passed a boot test, by digest.

    Raises UserError when the request pushes and no site takes any of the images.
    """
    tasks: dict[str, Task] = {}
    made: dict[tuple[str, Arch], str] = {}
    forced = {(each.image.tag, each.arch) for each in image_states} if request.force and request.build else set()
    layer_tasks = LayerTasks(layer_states=layer_states, forced=forced, request=request, version=version, now=now)
    for state in image_states:
        if request.until:
            steps = stopping(state, layer_tasks, layer_states, request.until, version)
            tasks.update((task.id, task) for task in steps if task.id not in tasks)
            continue
        image, arch = state.image, state.arch
        stored, reason = _stored(request, state, now, _besides(request, state, sites))
        serves = stored.version if stored else version
        what = wanted(state, sites, serves, request, now)
        outs = tuple(dict.fromkeys((*image.formats, *what.formats(serves))))
        if stored is None:
            replaces = request.force and request.build
            layers = layer_tasks.layers(state.job)
            steps = [*layers, *_build(state, made, layer_tasks.needed(state.job), outs, version, reason, replaces)]
            made[image.tag, arch] = steps[-1].id
        else:
            steps = [_cached(state, reason)] if request.build else []
            steps += complete(state, stored, outs, state.label)
        needs = tuple(task.id for task in steps if isinstance(task.job, ConvertJob))
        serving = Serving(version=serves, build=stored, needs=needs, held=is_held(state, stored, request))
        steps += push_tasks(state, what, serving, request, passes)
        tasks.update((task.id, task) for task in steps if task.id not in tasks)
    pushes = [task.job for task in tasks.values() if isinstance(task.job, PushJob)]
    if request.promote:
        require_something(pushes)
    elif request.push and not pushes:
        raise UserError(
            "no site takes any of the images",
            hint="bare-metal-only images, and those for arm64, go to sites with is_baremetal: true; `arch` of a site"
            " says otherwise; `takes` of a site names properties that an image must have",
        )
    return Plan(version=version, tasks=tuple(tasks.values()))


def _stored(
    request: Request, state: ImageState, now: datetime, wanted_besides: Sequence[Format]
) -> tuple[Build | None, str]:
    """Return the stored build that serves the request, or None and why one must be made."""
    newest, match = state.newest, state.match
    if not request.build:
        return newest, "never built" if newest is None else ""
    if request.force:
        return None, "forced"
    if match is None:
        return None, _what_changed(state)
    if old := too_old(match.last_made, state.unsure, request, now):
        return None, f"version {match.version} {old}"
    if lacks := _beyond(match, (*state.image.formats, *wanted_besides)):
        return None, f"version {match.version} has nothing that {lacks} can be made from"
    quiet = f"; {state.quiet}" if state.quiet else ""
    return match, f"version {match.version} has this key ({match.key[:12]}){quiet}"


def _besides(request: Request, state: ImageState, sites: Sequence[Site]) -> list[Format]:
    """Return the formats that the sites take to which a request pushes."""
    asked = [site for site in sites if not request.sites or site.name in request.sites] if request.push else []
    return [each for site in asked for each in formats_for(site, state.image, state.arch)]


def _beyond(stored: Build, formats: Sequence[Format]) -> str:
    """Return the formats that a stored build lacks, and that cannot be made from what it has."""
    lacking = (each for each in dict.fromkeys(formats) if each not in stored.outputs)
    return " and ".join(each for each in lacking if not stored.can_become(each))


def _what_changed(state: ImageState) -> str:
    if state.newest is None:
        return "never built"
    shown = ", ".join(state.changed[:3])
    more = f" and {len(state.changed) - 3} more" if len(state.changed) > 3 else ""
    return f"changed since {state.newest.version}: {shown}{more}"


def _build(
    state: ImageState,
    made: Mapping[tuple[str, Arch], str],
    layers: Sequence[str],
    outs: tuple[Format, ...],
    version: str,
    reason: str,
    replaces: bool,
) -> list[Task]:
    """Return the tasks that make a new version: fetch what it needs, build, convert.

    The parent whose tree it starts from is made by one of the tasks `layers`, if it must be. The other parents only
    come first: that they fail is no reason not to build it.
    """
    image, arch, job = state.image, state.arch, state.job
    fetches = [fetch(artifact) for artifact in job.spec.artifacts.values()]
    come_first = image.depends[1:] if state.on_parent else image.depends
    parents = tuple(made[parent, arch] for parent in come_first if (parent, arch) in made)
    build = Task(
        id=f"build {state.label}",
        job=replace(job, version=version, force=replaces),
        reason=reason,
        needs=tuple(dict.fromkeys([*(task.id for task in fetches), *layers])),
        after=parents,
    )
    convert = ConvertJob(
        name=image.name,
        published_name=image.published_name(arch),
        tag=image.tag,
        arch=arch,
        version=version,
        formats=outs,
        makes=image.makes,
        container=configured(image, image.published_name(arch)),
        replaces=replaces,
    )
    made_of = f"{'raw' if image.makes is Material.DISK else 'tree'} to {', '.join(outs)}"
    return [*fetches, build, Task(id=f"convert {state.label}", job=convert, reason=made_of, needs=(build.id,))]


def _cached(state: ImageState, reason: str) -> Task:
    return Task(id=f"build {state.label}", job=state.job, reason=reason, cached=True)
