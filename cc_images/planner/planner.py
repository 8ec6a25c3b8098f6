"""The planner: from a request and the state of its images to the plan.

Owns `make_plan`, which is pure: same input, same plan. It knows neither dib nor files; the state of the world
arrives as ImageState and LayerState.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from cc_images.boottest.policy import boot_job, boot_test_key
from cc_images.errors import UserError
from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Format, Image, Level, Site, Source
from cc_images.model.plan import BuildJob, ConvertJob, Plan, PushJob, Request, Task
from cc_images.model.status import Hold
from cc_images.planner.layers import LayerState, LayerTasks, fetch, too_old
from cc_images.sites.targets import formats_for, own_properties


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageState:
    """One image for one architecture, and what the store has of it."""

    image: Image
    arch: Arch
    job: BuildJob
    """The job that builds it; without a spec's recipe key when only what is stored matters."""
    match: Build | None
    """The newest build of this recipe whose upstream has not moved, as far as that is known."""
    newest: Build | None
    on_parent: bool = False
    """Whether it starts, itself or by its own layer, from its first parent's tree."""
    unsure: str = ""
    """Why nobody can say whether upstream has moved since `match`; empty when it was asked."""
    quiet: str = ""
    """A note that repositories have changed since `match`, and nothing that it has; empty when they have not."""
    changed: tuple[str, ...] = ()
    """The inputs that differ from the newest build's, one short phrase each."""
    holds: Mapping[str, Hold] = field(default_factory=dict)
    """Holds and releases of its versions."""

    @property
    def label(self) -> str:
        """The name of the pair in the ids of tasks."""
        return f"{self.image.tag} {self.arch}"


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
        image, arch = state.image, state.arch
        pushes = [(site, out) for site in (sites if request.push else ()) for out in formats_for(site, image, arch)]
        wanted = tuple(dict.fromkeys((*image.formats, *(out for _, out in pushes))))
        stored, reason = _stored(request, state, now)
        if stored is None:
            replaces = request.force and request.build
            layers = layer_tasks.layers(state.job)
            steps = [*layers, *_build(state, made, layer_tasks.needed(state.job), wanted, version, reason, replaces)]
            made[image.tag, arch] = steps[-1].id
        else:
            steps = [_cached(state, reason)] if request.build else []
            steps += _complete(state, stored, wanted)
        needs = tuple(task.id for task in steps if isinstance(task.job, ConvertJob))
        held = is_held(state, stored, request)
        if pushes and request.boot_test and not held:
            boot = _boot(state, stored, tuple(dict.fromkeys(out for _, out in pushes)), version, needs, passes)
            steps.append(boot)
            needs = (boot.id,)
        insist = request.force or bool(request.version)
        serves = stored.version if stored else version
        steps += [_push(state, site, out, serves, needs, insist, held) for site, out in pushes]
        tasks.update((task.id, task) for task in steps if task.id not in tasks)
    if request.push and not any(isinstance(task.job, PushJob) for task in tasks.values()):
        raise UserError(
            "no site takes any of the images",
            hint="bare-metal-only images, and those for arm64, go to sites with is_baremetal: true; `arch` of a site"
            " says otherwise",
        )
    return Plan(version=version, tasks=tuple(tasks.values()))


def _stored(request: Request, state: ImageState, now: datetime) -> tuple[Build | None, str]:
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
    quiet = f"; {state.quiet}" if state.quiet else ""
    return match, f"version {match.version} has this key ({match.key[:12]}){quiet}"


def is_held(state: ImageState, stored: Build | None, request: Request) -> bool:
    """Say whether the stored build that serves is held; a person who names it, or forces it, publishes it."""
    hold = state.holds.get(stored.version) if stored is not None else None
    return hold is not None and not (hold.released or request.force or request.version)


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
    wanted: tuple[Format, ...],
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
        formats=wanted,
        replaces=replaces,
    )
    made_of = f"raw to {', '.join(wanted)}"
    return [*fetches, build, Task(id=f"convert {state.label}", job=convert, reason=made_of, needs=(build.id,))]


def _cached(state: ImageState, reason: str) -> Task:
    return Task(id=f"build {state.label}", job=state.job, reason=reason, cached=True)


def _complete(state: ImageState, stored: Build, wanted: tuple[Format, ...]) -> list[Task]:
    """Return the conversion that a stored build lacks, if any."""
    missing = tuple(out for out in wanted if out not in stored.outputs)
    if not missing:
        return []
    job = ConvertJob(
        name=state.image.name,
        published_name=state.image.published_name(state.arch),
        tag=state.image.tag,
        arch=state.arch,
        version=stored.version,
        formats=missing,
    )
    reason = f"version {stored.version} lacks {', '.join(missing)}"
    return [Task(id=f"convert {state.label}", job=job, reason=reason)]


def _boot(
    state: ImageState,
    stored: Build | None,
    formats: tuple[Format, ...],
    version: str,
    needs: tuple[str, ...],
    passes: Mapping[str, str],
) -> Task:
    image, arch = state.image, state.arch
    job = boot_job(image, arch, stored.version if stored else version, formats)
    outputs = [stored.outputs[out] for out in formats if out in stored.outputs] if stored else []
    passed = len(outputs) == len(formats) and all(passes.get(each.digest) == job.test_key for each in outputs)
    count = sum(map(len, image.checks.values()))
    reached = job.boot.level or (Level.LOGIN if job.boot.source is Source.NONE else Level.CHECKS)
    sought = f"{count} check{'s' * (count != 1)}" if reached is Level.CHECKS else f"to {reached}"
    reason = f"{' and '.join(job.firmware)}, {sought} and hygiene"
    return Task(
        id=f"boot {state.label}",
        job=job,
        reason="these bytes have passed" if passed else reason,
        needs=needs,
        cached=passed,
    )


def _push(
    state: ImageState, site: Site, out: Format, version: str, needs: tuple[str, ...], insist: bool, held: bool
) -> Task:
    image, arch = state.image, state.arch
    several = len(formats_for(site, image, arch)) > 1
    return Task(
        id=f"push {state.label} to {site.name}" + (f" as {out}" if several else ""),
        job=PushJob(
            name=image.published_name(arch),
            tag=image.tag,
            arch=arch,
            version=version,
            format=out,
            site=site.name,
            properties=own_properties(image, arch, site),
            image_tags=tuple(dict.fromkeys((*image.tags, *site.tags))) if site.cloud else (),
            test_key=boot_test_key(image, arch),
            insist=insist,
        ),
        reason=f"version {version} is held: an interrupted push is put in order" if held else f"version {version}",
        needs=needs,
        lane=site.name,
    )
