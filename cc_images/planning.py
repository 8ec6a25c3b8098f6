"""Planning: from a request and what the world has of its images to the plan.

Owns `make_plan`, which is pure: same input, same plan. It knows neither dib nor files; what the world looks like
arrives as Candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cc_images.errors import UserError
from cc_images.model import Arch, Artifact, Build, Format, Image, Site
from cc_images.plan import BuildJob, ConvertJob, FetchJob, Plan, PushJob, Request, Task
from cc_images.properties import NUMBERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One image for one architecture, and what the store has of it."""

    image: Image
    arch: Arch
    key: str
    job: BuildJob
    match: Build | None
    """The newest build with this key."""
    newest: Build | None
    changed: tuple[str, ...] = ()
    """The inputs in which the recipe differs from the newest build's, one short phrase each."""

    @property
    def label(self) -> str:
        """How the pair is called in the ids of tasks."""
        return f"{self.image.tag} {self.arch}"


def make_plan(
    request: Request,
    candidates: Sequence[Candidate],
    sites: Sequence[Site],
    *,
    version: str,
    now: datetime,
    notes: Sequence[str] = (),
) -> Plan:
    """Return the graph of tasks that fulfils the request; what is built gets `version`.

    Candidates stand in an order in which parents come before children. Raises UserError when a push was asked for and
    no site takes any of the images.
    """
    tasks: dict[str, Task] = {}
    made: dict[tuple[str, Arch], str] = {}
    for candidate in candidates:
        image, arch = candidate.image, candidate.arch
        pushes = [(site, out) for site in (sites if request.push else ()) for out in formats_for(site, image)]
        wanted = tuple(dict.fromkeys((*image.formats, *(out for _, out in pushes))))
        stored, reason = _stored(request, candidate, now)
        if stored is None:
            steps = _build(candidate, made, wanted, version, reason, replaces=request.force and request.build)
            made[image.tag, arch] = steps[-1].id
        else:
            steps = [_cached(candidate, reason)] if request.build else []
            steps += _complete(candidate, stored, wanted)
        needs = tuple(task.id for task in steps if isinstance(task.job, ConvertJob))
        steps += [_push(candidate, site, out, stored.version if stored else version, needs) for site, out in pushes]
        tasks.update((task.id, task) for task in steps)
    if request.push and not any(isinstance(task.job, PushJob) for task in tasks.values()):
        raise UserError(
            "none of the images may go to any of the sites",
            hint="bare-metal-only images need a site with is_baremetal: true",
        )
    return Plan(version=version, tasks=tuple(tasks.values()), notes=tuple(notes))


def formats_for(site: Site, image: Image) -> tuple[Format, ...]:
    """Return the formats in which a site takes an image; none for a bare-metal-only image and a site that is not.

    Unless it says otherwise, a cloud takes qcow2 for bare metal and raw for KVM, and a folder qcow2.
    """
    if image.baremetal_only and not site.is_baremetal:
        return ()
    return site.formats or ((Format.RAW,) if site.cloud and not site.is_baremetal else (Format.QCOW2,))


def _stored(request: Request, candidate: Candidate, now: datetime) -> tuple[Build | None, str]:
    """Return the stored build that serves the request, or None and why one must be made."""
    newest, match = candidate.newest, candidate.match
    if not request.build:
        return newest, "never built" if newest is None else ""
    if request.force:
        return None, "forced"
    if match is None:
        return None, _what_changed(candidate)
    age = (now - match.created).total_seconds() / 86400
    if age > request.max_age:
        return None, f"version {match.version} is {age:.0f} days old, more than --max-age {request.max_age}"
    return match, f"version {match.version} has this key ({candidate.key[:12]})"


def _what_changed(candidate: Candidate) -> str:
    if candidate.newest is None:
        return "never built"
    shown = ", ".join(candidate.changed[:3])
    more = f" and {len(candidate.changed) - 3} more" if len(candidate.changed) > 3 else ""
    return f"changed since {candidate.newest.version}: {shown}{more}"


def _build(
    candidate: Candidate,
    made: Mapping[tuple[str, Arch], str],
    wanted: tuple[Format, ...],
    version: str,
    reason: str,
    replaces: bool,
) -> list[Task]:
    """Return the tasks that make a new version: fetch what it needs, build, convert."""
    image, arch = candidate.image, candidate.arch
    fetches = [_fetch(artifact) for artifact in candidate.job.artifacts.values()]
    parents = [made[parent, arch] for parent in image.depends if (parent, arch) in made]
    build = Task(
        id=f"build {candidate.label}",
        job=replace(candidate.job, version=version),
        reason=reason,
        needs=tuple(dict.fromkeys([*(task.id for task in fetches), *parents])),
    )
    job = ConvertJob(
        name=image.name,
        published_name=image.published_name(arch),
        tag=image.tag,
        arch=arch,
        version=version,
        formats=wanted,
        replaces=replaces,
    )
    convert = Task(id=f"convert {candidate.label}", job=job, reason=f"raw to {', '.join(wanted)}", needs=(build.id,))
    return [*fetches, build, convert]


def _cached(candidate: Candidate, reason: str) -> Task:
    return Task(id=f"build {candidate.label}", job=candidate.job, reason=reason, cached=True)


def _complete(candidate: Candidate, stored: Build, wanted: tuple[Format, ...]) -> list[Task]:
    """Return the conversion that a stored build lacks, if any."""
    missing = tuple(out for out in wanted if out not in stored.outputs)
    if not missing:
        return []
    job = ConvertJob(
        name=candidate.image.name,
        published_name=candidate.image.published_name(candidate.arch),
        tag=candidate.image.tag,
        arch=candidate.arch,
        version=stored.version,
        formats=missing,
        source=stored.outputs.get(Format.QCOW2) or next(iter(stored.outputs.values())),
    )
    reason = f"version {stored.version} lacks {', '.join(missing)}"
    return [Task(id=f"convert {candidate.label}", job=job, reason=reason)]


def _fetch(artifact: Artifact) -> Task:
    return Task(
        id=f"fetch {artifact.basename} {artifact.identity}",
        job=FetchJob(artifact=artifact),
        reason="needed by a build",
    )


def _push(candidate: Candidate, site: Site, out: Format, version: str, needs: tuple[str, ...]) -> Task:
    image, arch = candidate.image, candidate.arch
    several = len(formats_for(site, image)) > 1
    return Task(
        id=f"push {candidate.label} to {site.name}" + (f" as {out}" if several else ""),
        job=PushJob(
            name=image.published_name(arch),
            tag=image.tag,
            arch=arch,
            version=version,
            format=out,
            site=site.name,
            properties=_properties(image, arch, site),
        ),
        reason=f"version {version}",
        needs=needs,
        lane=site.name,
    )


def _properties(image: Image, arch: Arch, site: Site) -> dict[str, str]:
    """Return the properties that a published image carries; the site's win over the image's, both over ours.

    Names: Glance's "useful image properties" (architecture, os_distro, os_version).
    """
    standard = {"architecture": arch.machine}
    for ours, theirs in (("distro", "os_distro"), ("release", "os_version")):
        if ours in image.provenance:
            standard[theirs] = image.provenance[ours]
    standard |= {f"build-{name}": value for name, value in image.provenance.items()}
    chosen = standard | dict(image.properties) | dict(site.properties)
    return {name: str(int(value)) if name in NUMBERS else value for name, value in chosen.items()}
