"""The plan: what one run will do, as a value that anybody may read, print or compare.

Owns Request, Task, Plan and Result, and `make_plan`, which is pure: same input, same plan. It knows neither dib nor
files; what the world looks like arrives as Candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from cc_images.errors import UserError
from cc_images.model import Arch, Artifact, Build, Format, Image, Json, Output, Site
from cc_images.properties import NUMBERS
from cc_images.recipe import redacted


class Resource(StrEnum):
    """What a task occupies while it runs; a run has a limit for each."""

    FETCH = "fetch"
    BUILD = "build"
    CONVERT = "convert"
    PUSH = "push"


class Status(StrEnum):
    """How a task ended."""

    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"

    @property
    def good(self) -> bool:
        """Whether what the task stands for is there now."""
        return self in (Status.DONE, Status.CACHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the caller asked for. Empty `arches` means all that each image supports, empty `sites` all sites."""

    tags: tuple[str, ...]
    arches: tuple[Arch, ...] = ()
    build: bool = False
    push: bool = False
    force: bool = False
    jobs: int = 1
    sites: tuple[str, ...] = ()
    fail_fast: bool = False
    max_age: int = 7
    """Days for which a build is taken for fresh although nobody asked upstream for news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchJob:
    """Bring an artifact into the store."""

    artifact: Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """Run dib once: content and disk elements to one raw disk in the run's workspace. `timeout` is in minutes."""

    name: str
    tag: str
    arch: Arch
    version: str
    key: str
    content: tuple[str, ...]
    disk: tuple[str, ...]
    environment: Mapping[str, str]
    packages: tuple[str, ...]
    artifacts: Mapping[str, Artifact]
    timeout: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertJob:
    """Make the outputs in `formats` and record them, from the run's raw disk or from a stored `source`."""

    name: str
    published_name: str
    tag: str
    arch: Arch
    version: str
    formats: tuple[Format, ...]
    source: Output | None = None
    replaces: bool = False
    """Whether older builds of the image leave the store once this one is recorded (`-f`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushJob:
    """Publish one output of a version at a site."""

    name: str
    tag: str
    arch: Arch
    version: str
    format: Format
    site: str
    properties: Mapping[str, str]


Job = FetchJob | BuildJob | ConvertJob | PushJob

RESOURCES: Mapping[type[Job], Resource] = {
    FetchJob: Resource.FETCH,
    BuildJob: Resource.BUILD,
    ConvertJob: Resource.CONVERT,
    PushJob: Resource.PUSH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One step: plain data. `needs` must succeed first, `after` must be over first; `cached` means nothing to do."""

    id: str
    job: Job
    reason: str
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    cached: bool = False
    lane: str = ""
    """What is narrower than the resource: the site of a push. A few tasks of one lane run at a time."""

    @property
    def resource(self) -> Resource:
        """What the task occupies while it runs."""
        return RESOURCES[type(self.job)]

    def as_json(self) -> Json:
        """Return the task as plain data without secrets."""
        job = asdict(self.job)
        if isinstance(self.job, BuildJob):
            job["environment"] = redacted(self.job.environment)
            job["artifacts"] = {name: artifact.shown for name, artifact in self.job.artifacts.items()}
        elif isinstance(self.job, FetchJob):
            job["artifact"] = self.job.artifact.shown
        return asdict(self) | {"job": job, "resource": self.resource}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The graph of a run's tasks, in an order in which each follows those that it waits for."""

    version: str
    tasks: tuple[Task, ...]
    notes: tuple[str, ...] = ()
    """What the user should know before it runs, a sentence each."""

    def as_json(self) -> Json:
        """Return the plan as plain data without secrets."""
        return {"version": self.version, "notes": list(self.notes), "tasks": [task.as_json() for task in self.tasks]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one task ended. `seconds` is its duration; `error`, `hint` and `reason` are set for FAILED and BLOCKED."""

    task: str
    status: Status
    error: str = ""
    hint: str = ""
    reason: str = ""
    log: str = ""
    tail: tuple[str, ...] = ()
    seconds: float = 0.0
    started: float = 0.0
    """Seconds since the run began."""
    size: int = 0
    where: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> Json:
        """Return the result as plain data."""
        return asdict(self)


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
