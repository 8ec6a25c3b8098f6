"""Results: builds, layers and their files, as the store records them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from cc_images.model.catalog import RAMDISK, Arch, Format, published_name

VERSION_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One stored file: its digests, its size in bytes, and the size of the disk that a guest sees, if it is one."""

    format: Format
    digest: str
    sha512: str
    size: int
    virtual_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A stored root tree, a zstd tar. `run` made it; `recipe_key`, `key` and `upstream` are those of a Build."""

    tag: str
    arch: Arch
    run: str
    recipe_key: str
    key: str
    digest: str
    size: int
    upstream: Mapping[str, str] = field(default_factory=dict)

    @property
    def created(self) -> datetime:
        """When the run that made it began, in UTC."""
        return moment(self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A recorded build. Its recipe and other details lie beside the record; see `Store.details`."""

    tag: str
    name: str
    arch: Arch
    version: str
    recipe_key: str
    """The key of the recipe without the upstream state, which is known before the build."""
    key: str
    """The key of the recipe with the upstream state that the build saw."""
    outputs: Mapping[Format, Output]
    upstream: Mapping[str, str] = field(default_factory=dict)
    packages: int = 0
    """How many packages it has."""
    boot: str = ""
    """The level that it reached in its newest boot test; empty when it was never tested."""
    again: str = ""
    """The newest run that made the same bytes again, and kept this version; empty if none has."""

    @property
    def published_name(self) -> str:
        """The name on sites."""
        return published_name(self.name, self.arch)

    def can_become(self, wanted: Format) -> bool:
        """Say whether an output in another format can be made from its stored ones: a disk holds a tree, too.

        An image for containers has no devices, as SIF files have none.
        """
        if wanted is Format.SIF and Format.OCI in self.outputs:
            return True
        whole = {each for each in self.outputs if each not in (*RAMDISK, Format.OCI, Format.SIF)}
        return any(each.is_disk for each in whole) or (bool(whole) and not wanted.is_disk)

    @property
    def created(self) -> datetime:
        """When the build's run began, in UTC: its version says so."""
        return moment(self.version)

    @property
    def last_made(self) -> datetime:
        """When the newest run began that made these bytes, in UTC: how old what is in them can be."""
        return moment(self.again or self.version)


@lru_cache(maxsize=4096)
def moment(run: str) -> datetime:
    """Return when the run of this name began, in UTC. Raises ValueError for what is not a run's name."""
    return datetime.strptime(run[:16], VERSION_FORMAT).replace(tzinfo=UTC)
