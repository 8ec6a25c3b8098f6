"""The pushes of one image: to each site the version whose turn it is, after the boot test of that version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from graphlib import TopologicalSorter

from cc_images.boottest.policy import boot_job, boot_test_key
from cc_images.errors import UserError
from cc_images.model.builds import Build
from cc_images.model.catalog import CONTAINERS, Format, Image, Level, Material, Source
from cc_images.model.container import configured
from cc_images.model.plan import BootJob, ConvertJob, Gate, PushJob, Request, Task
from cc_images.model.site import Site
from cc_images.planner.image_state import ImageState
from cc_images.planner.waves import Known, Turn, turns
from cc_images.sites.targets import formats_for, name_for, own_properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The version that a request publishes: the build, if it is stored, and what must be done before a push of it."""

    version: str
    build: Build | None
    held: bool = False
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which sites get which version of an image in a run. `takers` are all sites that take it, asked for or not."""

    takers: Mapping[str, tuple[Site, tuple[Format, ...]]]
    turns: Sequence[Turn]

    @property
    def contracts(self) -> list[str]:
        """What all takers want of its containers."""
        return [each for site, _ in self.takers.values() for each in site.contract]

    def formats(self, version: str) -> tuple[Format, ...]:
        """Return the formats in which a version is pushed."""
        outs = (out for turn in self.turns if turn.version == version for out in self.takers[turn.site][1])
        return tuple(dict.fromkeys(outs))


def wanted(state: ImageState, sites: Iterable[Site], serving: str, request: Request, now: datetime) -> Wanted:
    """Return what the sites that a request names get, given the version that serves."""
    takers = {site.name: (site, out) for site in sites if (out := formats_for(site, state.image, state.arch))}
    known = Known(
        puts=state.puts,
        stored=frozenset(state.builds),
        holds=state.holds,
        named=bool(request.version),
        forced=request.force,
    )
    found = turns([site for site, _ in takers.values()], serving, known, now=now, promote=request.promote)
    asked = [turn for turn in found if not request.sites or turn.site in request.sites]
    asked = [turn for turn in asked if turn.before or not request.promote]
    return Wanted(takers=takers, turns=asked if request.push else [])


def push_tasks(
    state: ImageState, what: Wanted, serving: Serving, request: Request, passes: Mapping[str, str]
) -> list[Task]:
    """Return boot tests, conversions and pushes, each after those that it waits for."""
    steps: list[Task] = []
    needs: dict[str, tuple[str, ...]] = {}
    for version in dict.fromkeys(turn.version for turn in what.turns if turn.version):
        outs = what.formats(version)
        own = version == serving.version
        build = serving.build if own else state.builds[version]
        label = state.label if own else f"{state.label} {version}"
        needs[version] = serving.needs
        if not own:
            assert build is not None, "the turn of a version that is not stored waits"
            steps += complete(state, build, outs, label)
            needs[version] = tuple(task.id for task in steps if task.id == f"convert {label}")
        if request.boot_test and not (own and serving.held):
            boot = _boot(state, build, boot_job(state.image, state.arch, version, outs, what.contracts), passes)
            boot = replace(boot, id=f"boot {label}", needs=needs[version])
            steps.append(boot)
            needs[version] = (boot.id,)
    return [*steps, *in_order(_pushes(state, what, serving, request, needs), what.turns)]


def require_something(pushes: Sequence[PushJob]) -> None:
    """Raise UserError when nothing of what a person wants to let go on can."""
    if not pushes:
        raise UserError("no site of a later wave takes any of the images", hint="`wave: 2` in sites.yaml makes one")
    if all(job.waits for job in pushes):
        raise UserError("\n".join(f"{job.tag} {job.arch} on {job.site}: {job.waits}" for job in pushes))


def complete(state: ImageState, stored: Build, outs: Sequence[Format], label: str) -> list[Task]:
    """Return the conversion that a stored build lacks, if any."""
    missing = tuple(out for out in outs if out not in stored.outputs)
    if not missing:
        return []
    job = ConvertJob(
        name=state.image.name,
        published_name=state.image.published_name(state.arch),
        tag=state.image.tag,
        arch=state.arch,
        version=stored.version,
        formats=missing,
        makes=state.image.makes,
        container=configured(state.image, state.image.published_name(state.arch)),
    )
    reason = f"version {stored.version} lacks {', '.join(missing)}"
    return [Task(id=f"convert {label}", job=job, reason=reason)]


def _boot(state: ImageState, stored: Build | None, job: BootJob, passes: Mapping[str, str]) -> Task:
    formats = job.formats
    outputs = [stored.outputs[out] for out in formats if out in stored.outputs] if stored else []
    passed = len(outputs) == len(formats) and all(passes.get(each.digest) == job.test_key for each in outputs)
    reason = "these bytes have passed" if passed else _tested(state.image, job)
    return Task(id="boot", job=job, reason=reason, cached=passed)


def _tested(image: Image, job: BootJob) -> str:
    """Return what a boot test looks at, for people."""
    count = sum(map(len, image.checks.values()))
    if {*CONTAINERS} & {*job.formats} and job.boot.level is not Level.INSIDE:
        contracts = f", {', '.join(job.trial.contracts)}" if job.trial and job.trial.contracts else ""
        return f"that it starts, {count} check{'s' * (count != 1)}, hygiene{contracts}"
    if not job.firmware:
        return "its tree, and hygiene"
    early = job.boot.source is Source.NONE or image.makes is Material.TREE
    reached = job.boot.level or (Level.LOGIN if early else Level.CHECKS)
    sought = f"{count} check{'s' * (count != 1)}" if reached is Level.CHECKS else f"to {reached}"
    return f"{' and '.join(job.firmware)}, {sought} and hygiene"


def _pushes(
    state: ImageState, what: Wanted, serving: Serving, request: Request, needs: Mapping[str, tuple[str, ...]]
) -> dict[str, list[Task]]:
    """Return the pushes to each site."""
    return {
        turn.site: [_push(state, what, turn, out, request, serving, needs) for out in what.takers[turn.site][1]]
        for turn in what.turns
    }


def _push(
    state: ImageState,
    what: Wanted,
    turn: Turn,
    out: Format,
    request: Request,
    serving: Serving,
    needs: Mapping[str, tuple[str, ...]],
) -> Task:
    image, arch = state.image, state.arch
    own = turn.version == serving.version
    site, outs = what.takers[turn.site]
    before = tuple(
        (name, each, name_for(what.takers[name][0], image, arch, each))
        for name in turn.before
        for each in what.takers[name][1]
    )
    reason = f"waits: {turn.waits}" if turn.waits else f"version {turn.version}"
    if turn.before and not turn.waits:
        reason += f", as on {', '.join(turn.before)}"
    if serving.held and own:
        reason = f"version {turn.version} is held: an interrupted push is put in order"
    label = f"push {state.label} to {site.name}"
    kernel = (f"{label} as {Format.KERNEL}",) if out is Format.INITRAMFS else ()  # it is of no use without
    return Task(
        id=label + (f" as {out}" if len(outs) > 1 else ""),
        job=PushJob(
            name=name_for(site, image, arch, out),
            tag=image.tag,
            arch=arch,
            version=turn.version,
            format=out,
            site=site.name,
            properties=own_properties(image, arch, site),
            image_tags=tuple(dict.fromkeys((*image.tags, *site.tags))) if site.cloud else (),
            test_key=boot_test_key(image, arch, what.contracts),
            insist=(request.force or bool(request.version)) and own,
            gate=Gate(before=before, promoted=request.promote) if turn.before and turn.version else None,
            waivers=image.waivers if site.refuses_insecure else {},
            waits=turn.waits,
        ),
        reason=reason,
        needs=(*needs.get(turn.version, ()), *kernel),
        lane=site.name,
    )


def in_order(pushes: Mapping[str, list[Task]], chosen: Sequence[Turn]) -> list[Task]:
    """Return the pushes, each `after` those of the wave before, or before them where it goes ahead of them."""
    first: dict[str, list[str]] = {turn.site: [] for turn in chosen}
    for turn in chosen:
        for site in turn.before:
            if site in first and turn.version:
                sooner, later = (turn.site, site) if turn.ahead else (site, turn.site)
                first[later].append(sooner)
    ordered: list[Task] = []
    for site in TopologicalSorter(first).static_order():
        after = tuple(task.id for each in first[site] for task in pushes[each])
        ordered += [replace(task, after=after) for task in pushes[site]]
    return ordered
