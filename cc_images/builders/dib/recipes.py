"""Recipes: make a build's spec and recipe from an entry of the catalogue, its elements and the host.

Decides where a build starts: from nothing, from its parent's layer, or from its own layer when other images of the
catalogue start from that one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cc_images.builders import provenance
from cc_images.builders.dib.disk_recipes import DiskRecipes
from cc_images.builders.dib.elements import Elements, with_layout
from cc_images.builders.dib.layers import Inheritance, inherit, obstacle
from cc_images.builders.dib.spec import DibSpec
from cc_images.builders.dib.twins_recipes import TwinsRecipes
from cc_images.builders.provenance import PROVENANCE
from cc_images.builders.resolved import Resolved
from cc_images.config.loader import Config
from cc_images.errors import Reason, UserError
from cc_images.host.facts import HostFacts
from cc_images.host.named_files import named_files, stamp
from cc_images.model.catalog import Arch, Download, Format, Image, Json, Material
from cc_images.model.container import configured
from cc_images.model.recipe import Recipe
from cc_images.model.spec import Base

BASE = "base"
"""The element that dib adds to what is named."""

DIB = "dib"

_MIRROR = re.compile(r"\A\{(DIB_[A-Z0-9_]+)\}")
"""How an artifact's address begins that lies on a mirror which builds use."""


class Recipes:
    """Specs and recipes of a configuration's images and layers, each made when it is first asked for."""

    def __init__(self, config: Config, elements: Elements, host: HostFacts) -> None:
        self._config = config
        self._elements = elements
        self._host = host
        self._children: dict[str, list[Image]] = {}
        for image in config.images.values():
            if image.depends and image.layer:
                self._children.setdefault(image.depends[0], []).append(image)
        self._bases: dict[str, set[Arch]] = {}
        for image in config.images.values():
            for tag in image.depends if image.builder != DIB else ():
                self._bases.setdefault(tag, set()).update(image.arches)
        self._layers: dict[tuple[str, Arch], Resolved] = {}
        self._twins_recipes = TwinsRecipes(elements=elements, host=host)
        self._made, self._tags = self._twins_recipes.made, self._twins_recipes.tags
        self._starts: dict[tuple[str, Arch], Resolved | str] = {}
        self._variables: dict[str, dict[str, str]] = {}
        self._inherited = functools.cache(lambda content: inherit(elements, content))
        self._stamps = functools.cache(stamp)
        self._disks = DiskRecipes(config=config, elements=elements, host=host, made=self._made)

    def build(self, image: Image, arch: Arch) -> Resolved:
        """Return an image with its spec. Raises UserError for an element that is missing."""
        for each in self._config.lineage(image)[:-1]:  # the oldest first: chains of parents may be long
            with suppress(UserError):
                self._below(each, arch)
        below = self._below(image, arch)
        spec = DibSpec(makes=image.makes, disk=image.disk, **self._common(image, arch))
        used = self._closure(spec.content, spec.disk, arch, image.makes)
        self._require_left_out(image, used)
        spec, by_dib = self._disks.decided(spec, image, used) if image.makes is Material.DISK else (spec, "")
        recipe = replace(self._recipe(spec, below), container=_container(image, arch))
        start = self.layer(image, arch) if self._is_foundation(image, arch) else below
        twin = self._twins(image, arch)
        return Resolved(
            spec=replace(self._started(spec, start), recipe_key=recipe.recipe_key, twins=_key(twin)),
            recipe=recipe,
            on_parent=isinstance(below, Resolved),
            obstacle=below if isinstance(below, str) else "",
            slow=twin if isinstance(twin, str) else "",
            by_dib=by_dib,
        )

    def layer(self, image: Image, arch: Arch) -> Resolved:
        """Return the layer of an image with its spec. Raises UserError for an element that is missing."""
        if (image.tag, arch) not in self._layers:
            below = self._below(image, arch)
            spec = DibSpec(makes=Material.TREE, disk=(), **self._common(image, arch))
            recipe = self._recipe(spec, below)
            twin = self._twins(image, arch)
            started = replace(self._started(spec, below), recipe_key=recipe.recipe_key, twins=_key(twin))
            self._tags.setdefault(image.tag, started.recipe_key)
            self._layers[image.tag, arch] = self._made[started.recipe_key] = Resolved(spec=started, recipe=recipe)
        return self._layers[image.tag, arch]

    def _twins(self, image: Image, arch: Arch) -> Resolved | str:
        """Return the twins of the programs in an image, or why it has none; see `TwinsRecipes.of_image`."""
        content, artifacts = self._content(image), self._artifacts(image, arch)
        return self._twins_recipes.of_image(image.tag, arch, content, self._environment(image), artifacts)

    def layers(self, resolved: Resolved) -> list[Resolved]:
        """Return the layers that a build or layer relies on: those it starts from, the nearest first, and twins."""
        found: list[Resolved] = []
        while True:
            spec = resolved.spec
            assert isinstance(spec, DibSpec)
            found += [self._made[key] for key in (spec.twins, spec.disk_tools) if key]
            if spec.base is None:
                return found
            resolved = self._made[spec.base.recipe_key]
            found.append(resolved)

    def files(self, recipe: Recipe) -> Json:
        """Return the files of a recipe's elements, for people who ask why its key has moved."""
        return {name: self._elements.files(name) for name in recipe.elements}

    def _closure(
        self, content: tuple[str, ...], disk: tuple[str, ...], arch: Arch, makes: Material = Material.TREE
    ) -> tuple[str, ...]:
        names = self._elements.closure(with_layout((*content, *disk), arch))
        if "no-final-image" in names and makes is Material.DISK:
            raise UserError(
                "its elements include no-final-image, so dib makes no disk, and its formats want one",
                hint="say formats: [ramdisk], or leave out the element that needs it, such as ironic-ramdisk-base",
                reason=Reason.NO_DISK,
            )
        return names

    def _require_left_out(self, image: Image, names: Sequence[str]) -> None:
        """Raise UserError for an element that an image leaves out, and that another one of its elements needs."""
        for name in set(image.without) & {*names}:
            users = [each for each in names if self._elements.needs(each, name)]
            raise UserError(
                f"without: {name} cannot be left out: element {users[0] if users else '?'} depends on it",
                hint="leave that element out as well, or remove the name from `without`",
                reason=Reason.WITHOUT,
            )

    def _is_foundation(self, image: Image, arch: Arch) -> bool:
        """Say whether any image of the catalogue starts from this one's tree; that another builder makes, always."""
        if arch in self._bases.get(image.tag, ()):
            return True
        for child in self._children.get(image.tag, []):
            with suppress(UserError):  # a child that cannot be built is no reason to fail here
                if child.builder == DIB and arch in child.arches and isinstance(self._below(child, arch), Resolved):
                    return True
        return False

    def _common(self, image: Image, arch: Arch) -> dict[str, Any]:
        """Return what the specs of an image's disk and of its layer have in common."""
        return {
            "name": image.name,
            "tag": image.tag,
            "arch": arch,
            "recipe_key": "",
            "content": self._content(image),
            "environment": self._environment(image) | self._provenance(image, arch),
            "packages": self._packages(image),
            "secrets": self._config.declared(image),
            "network": image.network,
            "artifacts": self._artifacts(image, arch),
            "timeout": image.timeout,
            "scratch": image.scratch,
            "folders": tuple(map(str, self._elements.folders)),
            "families": tuple(f"{each.tag}-{arch}" for each in reversed(self._config.lineage(image))),
        }

    def _below(self, image: Image, arch: Arch) -> Resolved | str:
        """Return the layer of its parent that an image starts from, or why it starts from nothing."""
        if (image.tag, arch) not in self._starts:
            self._starts[image.tag, arch] = self._start(image, arch)
        return self._starts[image.tag, arch]

    def _start(self, image: Image, arch: Arch) -> Resolved | str:
        if not image.depends:
            return ""
        if not image.layer:
            return "layer: false"
        parent = self._config.images[image.depends[0]]
        if name := self._elements.disk_part(self._content(parent)):
            return f"element {name} of the parent belongs to the disk, not to the tree"
        if left_out := [name for name in image.without if name in self._content(parent)]:
            return f"it leaves out element {left_out[0]}, which is in the parent's tree"
        inherited = self._inherited(self._content(parent))
        if told := [name for name in inherited.provided if self._elements.hooks_mention(name, PROVENANCE)]:
            return f"element {told[0]} of the parent reads {PROVENANCE}, which says what is built"
        mine, theirs = (
            {**self._environment(each), **self._identities(each, arch), **self._provenance(each, arch)}
            for each in (image, parent)
        )
        beyond = set(self._closure(self._content(image), image.disk, arch)) - {*inherited.provides}
        exported = {name for element in beyond for name in self._elements.exports(element)}
        there = {name for element in inherited.again for name in self._elements.exports(element)}
        mine |= dict.fromkeys(exported - there - theirs.keys(), "(an element sets it)")
        return obstacle(self._elements, inherited, theirs, mine) or self.layer(parent, arch)

    def _started(self, spec: DibSpec, start: Resolved | str) -> DibSpec:
        """Return a spec with what is left to do when it starts from a layer."""
        if isinstance(start, str):
            return spec
        parent = self._config.images[start.spec.tag]
        content = self._content(parent)
        inherited: Inheritance = self._inherited(content)
        done = set(self._packages(parent))
        return replace(
            spec,
            base=Base(tag=start.spec.tag, recipe_key=start.spec.recipe_key, content=content),
            content=inherited.beyond(spec.content),
            packages=tuple(package for package in spec.packages if package not in done),
        )

    # -- what an image has from its ancestors: theirs first, its own settings over theirs, the user's over all -------

    def _content(self, image: Image) -> tuple[str, ...]:
        return self._config.content(image)

    def _packages(self, image: Image) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for each in self._config.lineage(image) for name in each.packages))

    def _environment(self, image: Image) -> dict[str, str]:
        if image.tag not in self._variables:
            self._variables[image.tag] = self._config.variables(image)
        return self._variables[image.tag]

    def _artifacts(self, image: Image, arch: Arch) -> dict[str, Download]:
        together: dict[str, Download] = {}
        for each in self._config.lineage(image):
            together |= each.artifacts
        return {
            name: replace(artifact, url=_MIRROR.sub(lambda found: self._mirror(found[1], image, arch), artifact.url))
            for name, artifact in together.items()
            if name not in self._config.environment
        }

    def _provenance(self, image: Image, arch: Arch) -> dict[str, str]:
        """Return the variable that says what an image is, where an element reads it; see `provenance`."""
        if PROVENANCE in self._environment(image):
            return {}
        used = self._closure(self._content(image), image.disk, arch)
        is_read = any(self._elements.hooks_mention(name, PROVENANCE) for name in used)
        return {PROVENANCE: provenance.stated(image)} if is_read else {}

    def _mirror(self, variable: str, image: Image, arch: Arch) -> str:
        """Return the mirror that a variable will name in a build: the user's, the catalogue's, or an element's."""
        environment = self._environment(image)
        elements = self._elements.closure(self._content(image))
        if not (found := environment.get(variable) or self._elements.default(elements, variable, environment, arch)):
            raise UserError(
                f"an artifact's url begins with {{{variable}}}, which nothing sets",
                hint=f"export {variable}, or set it in the image's environment",
                reason=Reason.UNKNOWN_MIRROR,
            )
        return found.rstrip("/")

    def _identities(self, image: Image, arch: Arch) -> dict[str, str]:
        found: dict[str, str] = {}
        for variable, artifact in self._artifacts(image, arch).items():
            form = " as url" if artifact.as_url else ""
            found[variable] = f"{artifact.basename} {artifact.sha256 or artifact.identity}{form}"
        return found

    def _recipe(self, spec: DibSpec, below: Resolved | str) -> Recipe:
        image = self._config.images[spec.tag]
        named = named_files(spec.environment) | {
            variable: Path(urlsplit(artifact.url).path)
            for variable, artifact in spec.artifacts.items()
            if artifact.url.startswith("file:") and not artifact.sha256
        }
        return Recipe(
            name=spec.name,
            arch=spec.arch,
            content=spec.content,
            disk=spec.disk,
            elements={name: self._elements.digest(name) for name in self._closure(spec.content, spec.disk, spec.arch)},
            environment=spec.environment,
            packages=spec.packages,
            artifacts=self._identities(image, spec.arch),
            files={variable: self._stamps(path) for variable, path in named.items()},
            tools=self._disks.programs(spec),
            parent=_key(below),
            secrets=spec.secrets,
        )


def _container(image: Image, arch: Arch) -> Json:
    """Return how an image is run as a container, if it is made for that."""
    if not {Format.OCI, Format.SIF} & {*image.formats}:
        return {}
    return configured(image, image.published_name(arch)).as_json()


def _key(resolved: Resolved | str) -> str:
    return resolved.spec.recipe_key if isinstance(resolved, Resolved) else ""
