"""Status: the state of images with their builds and sites, and the holdings of a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cc_images.model.builds import Build
from cc_images.model.catalog import Arch, Format, Image, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """One image as it was put on a site, or found there: its version, and since when, in seconds since 1970."""

    site: str
    name: str
    tag: str
    arch: str
    version: str
    since: float
    seen: float
    """When a run has last found it to be so."""
    place: str = ""
    """The project or folder that the site was then; empty: not known."""
    format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A version that is not to be published, since when (seconds since 1970) and why; or one that is again."""

    tag: str
    arch: str
    version: str
    since: float
    why: str = ""
    released: bool = False
    back: bool = False
    """Whether each site that has it is to get the version before it again, with the next push there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """One image on one site: its version before and after, or the `error` for which it stays as it is."""

    site: str
    name: str
    tag: str
    arch: Arch
    format: Format
    before: str = ""
    after: str = ""
    archived: str = ""
    """The name that the replaced image has now."""
    done: bool = False
    note: str = ""
    error: str = ""

    @property
    def label(self) -> str:
        """The image in the ids of tasks."""
        return f"{self.tag} {self.arch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStatus:
    """How one image stands for one architecture. `fresh` is None when nobody can say; `why` has phrases for that."""

    image: Image
    arch: Arch
    newest: Build | None
    fresh: bool | None
    why: tuple[str, ...] = ()
    put: Mapping[str, Put] = field(default_factory=dict)
    """The newest knowledge of each site, by site."""
    held: Hold | None = None
    """The hold on its newest build."""

    @property
    def state(self) -> str:
        """The state in one word."""
        if self.newest is None:
            return "never built"
        return {True: "fresh", False: "stale", None: "unknown"}[self.fresh]

    def as_json(self) -> Json:
        """Return the standing as plain data."""
        return {
            "image": self.image.tag,
            "name": self.image.published_name(self.arch),
            "arch": self.arch,
            "variant_of": self.image.depends[0] if self.image.depends else None,
            "baremetal_only": self.image.baremetal_only,
            "eol": self.image.eol,
            "newest": self.newest.version if self.newest else None,
            "created": self.newest.created.isoformat() if self.newest else None,
            "boot": self.newest.boot if self.newest else "",
            "fresh": self.fresh,
            "why": list(self.why),
            "held": self.held.why if self.held else None,
            "sites": {site: {"version": put.version, "since": put.since} for site, put in self.put.items()},
        }


class Kind(StrEnum):
    """A kind of holding in a store."""

    BUILD = "build"
    LAYER = "layer"
    DOWNLOADS = "downloads"
    ELEMENTS = "elements"
    """Third-party elements: a checkout of a commit, or the copy of a repository."""
    ARTIFACT = "artifact"
    KEPT = "kept"
    """The tree of a build that failed, or was to stop."""
    RUN = "run"
    """Journal, report and logs of a run."""
    STRAY = "stray"
    """A blob that nothing names any more, or one in quarantine; what was left half done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One thing in a store: how many bytes its removal frees, when it was used last (seconds since 1970), its rank.

    `rank` counts the newer ones of the same image and architecture, or source, so the newest has 0. `in_use` says by
    whom.
    """

    kind: Kind
    name: str
    version: str = ""
    size: int
    used: float
    rank: int = 0
    in_use: str = ""
