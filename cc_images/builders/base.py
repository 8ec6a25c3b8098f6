"""What a builder must be able to do: resolve images to specs, and build a spec.

To add a builder: a module with a function that returns it, its line in BUILDERS, and the kind of spec that it owns.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cc_images.config.loader import Config
from cc_images.model.builds import Build, Layer
from cc_images.model.catalog import Arch, Image, Json
from cc_images.model.recipe import Recipe
from cc_images.model.spec import BuildSpec
from cc_images.store.records import Store
from cc_images.store.run_context import TaskContext

BUILDERS: dict[str, str | Builder] = {
    "dib": "cc_images.builders.dib.builder:DIB",
    "twins": "cc_images.builders.dib.twins_builder:TWINS",
}
"""Builders by name: one of ours is loaded from its module when it is first needed."""

LEAST_FREE = 3 << 30
"""Bytes that a build wants free in the store before it starts: a raw disk, its conversion, and some air."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """An image, or a layer, as its builder resolves it: the spec of its build, and the recipe behind the key.

    `obstacle` says why it does not start from its parent's tree, `slow` why all its programs are emulated.
    """

    spec: BuildSpec
    recipe: Recipe
    on_parent: bool = False
    obstacle: str = ""
    slow: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInputs:
    """What a build gets besides its spec: the files behind the keys and downloads that the spec names."""

    version: str
    workspace: Path
    """An empty place: the builder makes the folder."""
    layers: Mapping[str, tuple[Layer, Path]] = field(default_factory=dict)
    """The stored layers that the spec relies on, by recipe key, read and found right."""
    downloads: Mapping[str, Path] = field(default_factory=dict)
    """The files of the spec's artifacts, by variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build has left: its tree or disk, seconds per step, packages, the upstream state, and peaks in MiB."""

    file: Path
    timings: Mapping[str, float] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    peaks: Mapping[str, int] = field(default_factory=dict)


class Known(Protocol):
    """What is known of earlier builds, for remarks."""

    def newest(self, recipe_key: str) -> Build | Layer | None:
        """Return what was in force last of the image that has this recipe now, whatever it was made of."""

    def offered(self, recipe_key: str) -> set[str] | None:
        """Return the names of the packages that the repositories of that build offer; None: not known."""


class Resolver(Protocol):
    """The images of a configuration as a builder resolves them on this host; each is made when first asked for."""

    def resolve(self, image: Image, arch: Arch) -> Resolved:
        """Return the spec of an image. Raises UserError for what is missing or cannot be."""

    def require_sound(self, image: Image, arch: Arch) -> None:
        """Raise UserError for values and parts of an image that would fail or be ignored in a build."""

    def layers(self, resolved: Resolved) -> list[Resolved]:
        """Return the layers that a build or layer relies on, nearest first."""

    def details(self, recipe: Recipe) -> Json:
        """Return what a record keeps of a recipe: itself, the digests of its files, the commits of its sources."""

    def files(self, recipe: Recipe) -> Json:
        """Return the digests of the files behind a recipe, for people who ask why its key has moved."""

    def with_claims(self, chosen: Sequence[tuple[Image, Arch]]) -> tuple[list[tuple[Image, Arch]], list[str]]:
        """Return the images with the checks that their parts claim, and notes. Raises UserError for wrong claims."""

    def remarks(self, resolved: Sequence[tuple[Image, Arch, Resolved]], known: Known) -> Iterable[str]:
        """Return what the user should know of images before they are built, a sentence each."""

    def close(self) -> None:
        """Keep what was computed for the next resolver."""


class Builder(Protocol):
    """A program that makes trees and disks."""

    def decode(self, plain: Json) -> BuildSpec:
        """Return the spec that was encoded as JSON."""

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        """Make a tree or a disk. Raises CCImagesError when that fails, and Interrupted when the run is stopped."""


class ImageBuilder(Builder, Protocol):
    """A builder to which images of the catalog belong."""

    def resolver(
        self, config: Config, store: Store, *, fetch: bool, offline: bool = False, stop: threading.Event | None = None
    ) -> Resolver:
        """Return a resolver for a configuration; without `fetch` only what is here already is looked at.

        Raises CCImagesError for sources that cannot be had.
        """


def image_builder() -> ImageBuilder:
    """Return the builder to which the images of a catalog belong."""
    found: ImageBuilder = _found("dib")
    return found


def builder(name: str) -> Builder:
    """Return the builder of a name. Raises KeyError for one that does not exist."""
    found: Builder = _found(name)
    return found


def _found(name: str) -> Any:
    place = BUILDERS[name]
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
