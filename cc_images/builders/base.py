"""The interface of a builder: decode a spec, and build it.

To add a builder: a module with a function that returns it, its line in BUILDERS, and the kind of spec that it owns. One
that makes images of the catalogue resolves them, too; see `builders.catalogue`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cc_images.model.builds import Layer
from cc_images.model.catalog import Json
from cc_images.model.kept import LeftTree
from cc_images.model.spec import BuildSpec
from cc_images.store.run_context import TaskContext

BUILDERS: dict[str, Any] = {
    "catalogue": "cc_images.builders.catalogue:CATALOGUE",
    "containerfile": "cc_images.builders.containerfile.builder:CONTAINERFILE",
    "dib": "cc_images.builders.dib.builder:DIB",
    "disk-tools": "cc_images.builders.dib.disk_tools_builder:DISK_TOOLS",
    "spack": "cc_images.builders.spack.builder:SPACK",
    "twins": "cc_images.builders.dib.twins_builder:TWINS",
}
"""Builders by name: one of ours is loaded from its module when it is first needed."""

BUNDLED = "@cc-images-bundle@"
"""Stands in a spec that travels for the folder in which its files are where it is built."""

LEAST_FREE = 3 << 30
"""Bytes that a build needs free in the store before it starts: a disk or tree, its conversion, and some air."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInputs:
    """The inputs of a build besides its spec: the files behind the keys and downloads that the spec names."""

    version: str
    workspace: Path
    """An empty place: the builder makes the folder."""
    layers: Mapping[str, tuple[Layer, Path]] = field(default_factory=dict)
    """The stored layers that the spec relies on, by recipe key, read and found right."""
    downloads: Mapping[str, Path] = field(default_factory=dict)
    """The files of the spec's artifacts, by variable."""
    keep: Callable[[LeftTree], None] | None = None
    """Called before a build fails, with the tree that it leaves in its workspace; None: it need not leave one."""
    until: str = ""
    """The phase of hooks after which the build is over: its result is the tree, packed as layers are. Empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The result of a build: its tree or disk, seconds per step, packages, the upstream state, and peaks in MiB."""

    file: Path
    parts: Mapping[str, Path] = field(default_factory=dict)
    """Finished files that the recipe itself has made besides, by format."""
    timings: Mapping[str, float] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    peaks: Mapping[str, int] = field(default_factory=dict)


class Builder(Protocol):
    """A program that makes trees and disks."""

    def decode(self, plain: Json) -> BuildSpec:
        """Return the spec that was encoded as JSON."""

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        """Make a tree or a disk. Raises CCImagesError when that fails, and Interrupted when the run is stopped."""


@runtime_checkable
class Packing(Protocol):
    """A builder whose builds may be done on another host. Without this, they stay on the one that made the plan."""

    def packed(self, spec: BuildSpec, folder: Path) -> BuildSpec:
        """Copy into a new `folder` the files of this host that a build reads, except layers and downloads.

        Returns the spec with names below BUNDLED in place of theirs. Raises CCImagesError for files that have changed
        since the plan was made.
        """


@runtime_checkable
class Versioned(Protocol):
    """A builder that takes the versions of programs of the host into its keys, besides those that all keys have."""

    def versions(self) -> Mapping[str, str]:
        """Return the versions of these programs on this host, by the names that specs have in `host_programs`."""


def builder(name: str) -> Builder:
    """Return the builder of a name. Raises KeyError for one that does not exist."""
    found: Builder = loaded(name)
    return found


def decoded(plain: Json) -> BuildSpec:
    """Return the spec that was encoded as JSON, by the builder that owns its kind."""
    return builder(plain["builder"]).decode(plain)


def loaded(name: str) -> Any:
    """Return the object behind a builder's name, loaded when it is first needed. Raises KeyError."""
    place = BUILDERS[name]
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
