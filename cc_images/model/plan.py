"""The plan of one run as a value: Request, Task, Plan and Result, plain data; `planner` makes plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum

from cc_images.model.catalog import USUAL, Arch, Checks, Contract, Download, Firmware, Format, Json, Material, Waiver
from cc_images.model.container import NOTHING_SAID, Configuration, Trial
from cc_images.model.spec import BuildSpec


class Resource(StrEnum):
    """A resource that a task occupies while it runs; a run has a limit for each. Memory and disk are in MiB."""

    FETCH = "fetch"
    BUILD = "build"
    CONVERT = "convert"
    BOOT = "boot"
    PUSH = "push"
    CORES = "cores"
    MEMORY = "memory"
    DISK = "disk"


class Status(StrEnum):
    """How a task ended."""

    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"

    @property
    def good(self) -> bool:
        """Whether the result of the task exists now."""
        return self in (Status.DONE, Status.CACHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The caller's request. Empty `arches` means all that each image supports, empty `sites` all sites."""

    tags: tuple[str, ...]
    arches: tuple[Arch, ...] = ()
    build: bool = False
    push: bool = False
    force: bool = False
    jobs: int = 1
    on: str = ""
    """The only builder that may build; empty: any. With `jobs` 0 as many builds at a time are done as builders take."""
    sites: tuple[str, ...] = ()
    fail_fast: bool = False
    boot_test: bool = True
    """Whether a push needs a passed boot test."""
    debug: bool = False
    """Whether a hook that fails opens a shell on the user's terminal."""
    keep_failed: bool = False
    """Whether the tree of a build that fails is kept."""
    until: str = ""
    """The phase of hooks after which builds stop, and their trees are kept; empty: none."""
    promote: bool = False
    """Whether the next wave of sites gets what the wave before has, whether it has baked or not."""
    version: str = ""
    """The stored version that is to be pushed, instead of the one that is in force."""
    max_age: int = 7
    """Days for which a build is taken for fresh when upstream cannot be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchJob:
    """Bring an artifact into the store."""

    artifact: Download

    def shown(self) -> Json:
        """Return the job as plain data without secrets."""
        return {"artifact": self.artifact.shown}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """Run a builder once, for a disk in the run's workspace."""

    spec: BuildSpec
    version: str = ""
    force: bool = False
    """Whether it is done even when another run has done it meanwhile."""
    known: tuple[str, ...] = ()
    """Versions of this recipe that the store had when the plan was made."""
    serves: str = ""
    """The one of `known` that serves, if any: upstream has not moved since."""
    until: str = ""
    """The phase of hooks after which it stops: its tree is kept, and there is no build. Empty: none."""

    @property
    def name(self) -> str:
        """The image's name."""
        return self.spec.name

    @property
    def tag(self) -> str:
        """The image's tag."""
        return self.spec.tag

    @property
    def arch(self) -> Arch:
        """The architecture of what is built."""
        return self.spec.arch

    def shown(self) -> Json:
        """Return the job as plain data without secrets."""
        own = {"version": self.version, "force": self.force, "known": self.known, "serves": self.serves}
        return self.spec.shown() | own | ({"until": self.until} if self.until else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerJob(BuildJob):
    """Run a builder once for a root tree alone, and keep that in the store as a layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertJob:
    """Make the outputs in `formats`, of what the run's own build `makes` or of a stored output, and record them."""

    name: str
    published_name: str
    tag: str
    arch: Arch
    version: str
    formats: tuple[Format, ...]
    makes: Material = Material.DISK
    container: Configuration = NOTHING_SAID
    replaces: bool = False
    """Whether older builds of the image leave the store once this one is recorded (`-f`)."""

    def shown(self) -> Json:
        """Return the job as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootJob:
    """Look into a version and boot it with each firmware; all of `formats` must hold what was booted.

    `test_key` names the test: a pass counts for no other. A guest gets `memory_mib`. `allow`: what hygiene lets pass.
    """

    name: str
    tag: str
    arch: Arch
    version: str
    formats: tuple[Format, ...]
    firmware: tuple[Firmware, ...]
    checks: Checks
    test_key: str
    memory_mib: int = 1024
    boot: Contract = USUAL
    allow: tuple[str, ...] = ()
    trial: Trial | None = None

    def guests(self, at_once: int) -> int:
        """Return how many of its guests, one for each firmware, run at a time on a host that can run `at_once`."""
        return min(len(self.firmware), at_once)

    def shown(self) -> Json:
        """Return the job as plain data."""
        plain = asdict(self)
        plain["asked"] = plain.pop("test_key")
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A push's condition: sites `before` (name, format, image's name there) have the version, and it is well there.

    What was `promoted` by a person is not asked about.
    """

    before: tuple[tuple[str, Format, str], ...]
    promoted: bool = False


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
    image_tags: tuple[str, ...] = ()
    """Tags that the image has on the site."""
    test_key: str = ""
    """The boot test that it should have passed."""
    insist: bool = False
    """Whether it overwrites a person's changes on the site."""
    gate: Gate | None = None
    """Of a site of a later wave: the condition."""
    waivers: Mapping[str, Waiver] = field(default_factory=dict)
    """Packages and vulnerabilities that are no reason to refuse it."""
    waits: str = ""
    """Why nothing is published yet: the push only puts in order what an earlier one has left."""

    def shown(self) -> Json:
        """Return the job as plain data."""
        plain = asdict(self)
        plain["asked"] = plain.pop("test_key")
        return plain


Job = FetchJob | BuildJob | LayerJob | ConvertJob | BootJob | PushJob

RESOURCES: Mapping[type[Job], Resource] = {
    FetchJob: Resource.FETCH,
    BuildJob: Resource.BUILD,
    LayerJob: Resource.BUILD,
    ConvertJob: Resource.CONVERT,
    BootJob: Resource.BOOT,
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
    """A limit narrower than the resource: the site of a push. A few tasks of one lane run at a time."""

    @property
    def resource(self) -> Resource:
        """The resource that the task occupies while it runs."""
        return RESOURCES[type(self.job)]

    def as_json(self) -> Json:
        """Return the task as plain data without secrets."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain | {"job": self.job.shown(), "resource": self.resource}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The graph of a run's tasks, in an order in which each follows those that it waits for."""

    version: str
    tasks: tuple[Task, ...]
    notes: tuple[str, ...] = ()
    """Warnings and notes for the user before it runs, a sentence each."""
    left_out: tuple[str, ...] = ()
    """Images that cannot be planned and that nobody named, with the reason."""

    def as_json(self) -> Json:
        """Return the plan as plain data without secrets."""
        return {
            "version": self.version,
            "notes": list(self.notes),
            "left_out": list(self.left_out),
            "tasks": [task.as_json() for task in self.tasks],
        }


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
    version: str = ""
    """The version that was made, tested or published."""
    place: str = ""
    """Of a push: the project or folder that the site was then."""
    timings: Mapping[str, float] = field(default_factory=dict)
    peaks: Mapping[str, int] = field(default_factory=dict)
    """The most that it took, in MiB: `memory`, `scratch`, `disk`."""

    def as_json(self) -> Json:
        """Return the result as plain data."""
        return asdict(self)
