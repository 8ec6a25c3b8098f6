"""The shapes of records: the keys of each file that cc-images keeps, and what they may hold.

`host.record_files` reads and writes them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

from cc_images.model.catalog import Arch, Format

Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Version = Annotated[str, Meta(pattern=r"\A[0-9]{8}T[0-9]{6}Z(\.[0-9]+)?\Z")]
RelativePath = Annotated[str, Meta(pattern=r"\A(?!/)(?!(.*/)?\.{1,2}(/|\Z))(?!.*//)[^\0]+\Z")]
Phase = Annotated[str, Meta(pattern=r"\A[a-z-]{0,40}\Z")]
Hook = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z_.-]{0,255}\Z")]
Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]


class Shape(Struct, kw_only=True):
    """The keys of a record, and what they may hold; FORMAT is the number that this version writes."""

    FORMAT: ClassVar[int] = 1


class OutputShape(Shape):
    """One output of a build."""

    format: Format
    digest: Digest
    sha512: str
    size: Count
    virtual_size: Count


class BuildShape(Shape):
    """`builds/<tag>/<arch>/<version>.json`."""

    tag: str
    name: str
    arch: Arch
    version: Version
    asked: str
    key: str
    outputs: dict[Format, OutputShape]
    upstream: dict[str, str] = {}
    packages: Count = 0
    boot: str = ""
    again: str = ""


class LayerShape(Shape):
    """`layers/<tag>/<arch>/<run>.json`."""

    tag: str
    arch: Arch
    run: Version
    asked: str
    key: str
    digest: Digest
    size: Count
    upstream: dict[str, str] = {}


class ContentsShape(Shape):
    """The contents of an image; see `boottest.contents.contents`."""

    os: dict[str, str] | UnsetType = UNSET
    kernels: list[str] | UnsetType = UNSET
    cmdline: str | UnsetType = UNSET
    users: list[dict[str, str]] | UnsetType = UNSET
    units: list[str] | UnsetType = UNSET
    setuid: list[dict[str, str]] | UnsetType = UNSET
    sizes: dict[str, int] | UnsetType = UNSET
    packages: dict[str, str] | UnsetType = UNSET
    installed: list[dict[str, str]] | UnsetType = UNSET
    """Every package as `inside/installed.py` tells of it; `packages` has names and versions alone."""
    manifest: dict[str, str] | None = None


class RecipeShape(Shape):
    """The recipe of a build or layer in its record; see `recipe.Recipe.as_json`."""

    elements: dict[str, Any] = {}
    environment: dict[str, str] = {}


class DetailsShape(Shape):
    """The `.more` beside the record of a build or layer."""

    recipe: RecipeShape | UnsetType = UNSET
    files: dict[str, dict[str, str]] = {}
    sources: dict[str, str] = {}
    timings: dict[str, float] = {}
    packages: dict[str, str] = {}
    writers: dict[str, str] = {}
    contents: ContentsShape | UnsetType = UNSET
    boot: dict[str, Any] | UnsetType = UNSET


class PassShape(Shape):
    """`boots/<digest>.json`."""

    asked: str
    broken: dict[str, list[str]] = {}
    """Of a container: what is wrong by each contract that was asked about; one that is kept has nothing."""


class ArtifactShape(Shape):
    """`artifacts/<digest>.json`."""

    name: str


class ResultShape(Shape):
    """One result in a journal; see `plan.Result`."""

    task: str
    status: str
    error: str
    hint: str
    tail: list[str]
    log: str
    seconds: Amount
    started: float
    reason: str = ""
    size: Count = 0
    where: str = ""
    version: str = ""
    place: str = ""
    timings: dict[str, float] = {}
    peaks: dict[str, float] = {}


class ImageShape(Shape):
    """The outcome of a run for one image, in a journal; see `api.summary.images`."""

    image: str
    arch: str
    version: str
    before: str
    built: bool
    ok: bool
    sites: list[dict[str, str]]
    size: Count | UnsetType = UNSET
    disk: Count | UnsetType = UNSET
    size_before: Count | UnsetType | None = UNSET
    packages: Count | UnsetType = UNSET
    boot: dict[str, Any] | UnsetType | None = UNSET
    sizes: dict[str, int] | UnsetType = UNSET
    rest: int | UnsetType = UNSET
    compared: bool | UnsetType = UNSET
    changes: dict[str, list[str]] | UnsetType | None = UNSET


class TaskShape(Shape):
    """One task of the plan in a journal."""

    id: str
    resource: str = ""


class PlanShape(Shape):
    """The plan in a journal."""

    tasks: list[TaskShape]
    notes: list[str] = []
    left_out: list[str] = []


class JournalShape(Shape):
    """`runs/<run>.json`; its results and images are looked at one by one."""

    run: str | UnsetType = UNSET
    state: str | UnsetType = UNSET
    words: list[str] = []
    began: str | UnsetType = UNSET
    error: str = ""
    seconds: Amount | None = None
    plan: PlanShape | UnsetType = UNSET
    results: list[Any] = []
    images: list[Any] = []
    critical: list[str] = []
    counts: dict[str, int] = {}


class MemoryShape(Shape):
    """A file of which each entry is looked at by itself: history, upstream, accelerators."""


class PageShape(Shape):
    """`work/<run>/booked.json`: what a run has reserved; see `reservations.Page`."""

    takes: dict[str, Count]
    keeps: list[tuple[float, dict[str, Count]]]
    wants: dict[str, Count]
    since: float
    looked: float
    host: str


class SeenShape(Shape):
    """One entry of `upstream.json`; see `upstream.Seen`."""

    digest: str
    when: str
    etag: str = ""
    modified: str = ""


class TookShape(Shape):
    """One row of `history.json`; see `durations.Took`."""

    seconds: Amount
    memory: Amount = 0
    scratch: Amount = 0
    disk: Amount = 0


class PeaksShape(Shape):
    """`out/peaks.json` of a sandbox."""

    memory: Count = 0
    scratch: Count = 0


class LeftTreeShape(Shape):
    """`out/kept.json` of a sandbox: at which hook its tree was kept, or why it could not be."""

    phase: Phase
    hook: Hook
    code: int | None
    trouble: str = ""


class KeptShape(Shape):
    """`kept/<tag>/<arch>/<run>.json`."""

    tag: str
    arch: Arch
    run: Version
    task: str
    phase: Phase
    hook: Hook
    code: int | None
    until: bool
    created: Amount


class DownloadsShape(Shape):
    """`out/cache.json` of a sandbox: relative paths below its cache."""

    kept: list[RelativePath] = []
    new: list[RelativePath] = []
    empty: list[RelativePath] = []


class ManifestShape(Shape):
    """dib's manifest of Debian packages."""

    packages: list[dict[str, str]]


class AcceleratorShape(Shape):
    """One entry of `accelerators.json`: whether a host runs guests accelerated, when that was found, and why not."""

    runs: bool
    asked: Amount
    why: str = ""


# -- reading ---------------------------------------------------------------------------------------------------------
