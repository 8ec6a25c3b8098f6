"""Images that are one layer upon other images: what the recipes of Containerfiles and those of Spack have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cc_images.builders.containerfile.spec import LayeredSpec
from cc_images.builders.resolved import Resolved
from cc_images.model.catalog import Arch, Image, Json
from cc_images.model.recipe import Recipe

IMAGE = ("image",)
"""What the recipe of an image has, and that of its layer has not."""


@dataclass(slots=True, kw_only=True)
class LayeredRecipes(ABC):
    """Specs and recipes of images, each made when it is first asked for; `made` has them by their keys."""

    made: dict[str, Resolved] = field(default_factory=dict)
    _layers: dict[tuple[str, Arch], Resolved] = field(default_factory=dict)

    @abstractmethod
    def resolved(self, image: Image, arch: Arch) -> Resolved:
        """Return the layer of an image, which is resolved now. Raises UserError for what is missing or cannot be."""

    def build(self, image: Image, arch: Arch) -> Resolved:
        """Return an image with its spec. Raises UserError for what is missing or cannot be."""
        layer = self.layer(image, arch)
        assert isinstance(layer.spec, LayeredSpec)
        recipe = replace(layer.recipe, disk=IMAGE)
        spec = replace(layer.spec, recipe_key=recipe.recipe_key, own=layer.spec.recipe_key)
        return replace(layer, spec=spec, recipe=recipe)

    def layer(self, image: Image, arch: Arch) -> Resolved:
        """Return what is built of an image: others start from it, and it is the image itself."""
        if (image.tag, arch) not in self._layers:
            made = self.resolved(image, arch)
            self._layers[image.tag, arch] = self.made[made.spec.recipe_key] = made
        return self._layers[image.tag, arch]


def recipe_of(
    spec: LayeredSpec,
    tools: Mapping[str, str],
    *,
    parent: str,
    artifacts: Mapping[str, str],
    files: Mapping[str, str],
    container: Json,
    environment: Mapping[str, str],
) -> Recipe:
    """Return the recipe of a spec, which has nothing of what dib's recipes have."""
    return Recipe(
        name=spec.name,
        arch=spec.arch,
        content=(),
        disk=(),
        elements={},
        environment=environment,
        packages=(),
        artifacts=artifacts,
        files=files,
        tools=tools,
        parent=parent,
        secrets=spec.secrets,
        container=container,
    )


def said_of(spec: LayeredSpec) -> Json:
    """Return what a recipe has of how the image is run, and of how parents without a configuration are."""
    return {**spec.said, "bases": {name: each.said for name, each in spec.images.items() if each.said}}
