"""Images of a configuration as specs and recipes, as a builder resolves them on a host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cc_images.model.builds import Build, Layer
from cc_images.model.catalog import Arch, Image, Json
from cc_images.model.recipe import Recipe
from cc_images.model.spec import BuildSpec
from cc_images.model.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """An image, or a layer, as its builder resolves it: the spec of its build, and the recipe behind the key.

    `obstacle` says why it does not start from its parent's tree, `slow` why all its programs are emulated, `by_dib` why
    its disk is not put together here.
    """

    spec: BuildSpec
    recipe: Recipe
    on_parent: bool = False
    obstacle: str = ""
    slow: str = ""
    by_dib: str = ""


class Known(Protocol):
    """Knowledge of earlier builds, for remarks."""

    def newest(self, recipe_key: str) -> Build | Layer | None:
        """Return what was in force last of the image that has this recipe now, whatever it was made of."""

    def offered(self, recipe_key: str) -> set[str] | None:
        """Return the names of the packages that the repositories of that build offer; None: not known."""


class Resolver(Protocol):
    """The images of a configuration as a builder resolves them on a host; each is made when first asked for."""

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

    def with_claims(self, chosen: Sequence[Target]) -> tuple[list[Target], list[str]]:
        """Return the images with the checks that their parts claim, and notes. Raises UserError for wrong claims."""

    def remarks(self, resolved: Sequence[tuple[Image, Arch, Resolved]], known: Known) -> Iterable[str]:
        """Return what the user should know of images before they are built, a sentence each."""

    def close(self) -> None:
        """Keep what was computed for the next resolver."""
