"""dib as a builder: its resolver, and one build from a spec."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import convert

from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.dib import command, disk_tools, element_path, packing
from cc_images.builders.dib.build import build
from cc_images.builders.dib.element_lint import Lint
from cc_images.builders.dib.elements import Elements, own_elements
from cc_images.builders.dib.recipes import Recipes
from cc_images.builders.dib.remarks import remarks
from cc_images.builders.dib.spec import DibSpec
from cc_images.builders.resolved import Known, Resolved
from cc_images.config.loader import Config
from cc_images.host import facts
from cc_images.host.facts import HostFacts
from cc_images.model.catalog import Arch, Image, Json
from cc_images.model.recipe import Recipe
from cc_images.model.spec import BuildSpec
from cc_images.model.target import Target
from cc_images.sources.git import Checkout
from cc_images.store.records import Store
from cc_images.store.run_context import TaskContext


class DibResolver:
    """The images of a configuration as dib's elements on this host make them; see `builders.base.Resolver`."""

    def __init__(
        self, config: Config, elements: Elements, host: HostFacts, third_party: Mapping[str, Checkout], offline: bool
    ) -> None:
        self._config = config
        self._elements = elements
        self._third_party = third_party
        self._offline = offline
        self._host = host
        self._recipes = Recipes(config, elements, host)
        self._lint = Lint()

    def resolve(self, image: Image, arch: Arch) -> Resolved:
        return self._recipes.build(image, arch)

    def layer(self, image: Image, arch: Arch) -> Resolved:
        """Return the layer of an image, from which others start."""
        return self._recipes.layer(image, arch)

    def require_sound(self, image: Image, arch: Arch) -> None:
        element_path.require_sound(image, arch, self._config, self._elements, self._lint)

    def layers(self, resolved: Resolved) -> list[Resolved]:
        return self._recipes.layers(resolved)

    def files(self, recipe: Recipe) -> Json:
        return {name: self._elements.files(name) for name in recipe.elements}

    def details(self, recipe: Recipe) -> Json:
        used = {self._elements.path(name).parent for name in recipe.elements}
        commits = {name: each.commit for name, each in self._third_party.items() if each.folder in used}
        return {"recipe": recipe.as_json(), "files": self.files(recipe), "sources": commits}

    def with_claims(self, chosen: Sequence[Target]) -> tuple[list[Target], list[str]]:
        return element_path.with_claims(chosen, self._config, self._elements)

    def remarks(self, resolved: Sequence[tuple[Image, Arch, Resolved]], known: Known) -> Iterator[str]:
        chosen = [Target(image, arch) for image, arch, _ in resolved]
        yield from element_path.as_of(self._third_party, self._offline)
        yield from element_path.linted(chosen, self._config, self._elements, self._lint)
        yield from remarks(resolved, self._config, known, self._host)

    def close(self) -> None:
        self._elements.keep()


class DibBuilder:
    """diskimage-builder; see `builders.base.ImageBuilder`."""

    def host_facts(self, arches: Collection[Arch]) -> HostFacts:
        return replace(facts.observe(arches, command.tools_here()), no_disk_tools=disk_tools.why_not())

    def resolver(
        self,
        config: Config,
        store: Store,
        host: HostFacts,
        *,
        fetch: bool,
        offline: bool = False,
        stop: threading.Event | None = None,
    ) -> DibResolver:
        if not fetch:
            return DibResolver(config, Elements(element_path.known_folders(config, store)), host, {}, offline)
        third_party = element_path.third_party(config, store, offline=offline, stop=stop)
        folders = _folders(config, (each.folder for each in third_party.values()))
        return DibResolver(config, Elements(folders, store.root / "elements.json"), host, third_party, offline)

    def decode(self, plain: Json) -> BuildSpec:
        return convert(plain, DibSpec)

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        assert isinstance(spec, DibSpec)
        return build(spec, inputs, context)

    def packed(self, spec: BuildSpec, folder: Path) -> BuildSpec:
        assert isinstance(spec, DibSpec)
        return packing.packed(spec, folder)


def _folders(config: Config, third_party: Iterable[Path]) -> tuple[Path, ...]:
    return (*config.elements, *third_party, own_elements())


DIB = DibBuilder()
