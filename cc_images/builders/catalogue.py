"""All builders of a catalogue's images as one: each image goes to its own, and parents may be another one's."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from cc_images.builders.base import loaded
from cc_images.builders.containerfile.resolver import ContainerfileResolver
from cc_images.builders.dib.builder import DibResolver
from cc_images.builders.dib.element_checks import own_checks
from cc_images.builders.resolved import Known, Resolved
from cc_images.builders.spack.resolver import SpackResolver
from cc_images.config.loader import Config
from cc_images.host.facts import HostFacts
from cc_images.model.catalog import Arch, Image, Json
from cc_images.model.contract import named
from cc_images.model.recipe import Recipe
from cc_images.model.target import Target
from cc_images.store.records import Store


class CatalogueResolver:
    """The images of a configuration, each as its own builder resolves it; see `builders.resolved.Resolver`."""

    def __init__(
        self, config: Config, dib: DibResolver, store: Store, *, asks: bool, stop: threading.Event | None
    ) -> None:
        self._config, self._dib = config, dib
        self._containerfiles = ContainerfileResolver(config, store, self._layer, asks=asks, stop=stop)
        self._spack = SpackResolver(config, store, self._containerfiles.recipes, relock=config.relock)
        self._others = {each.name: each for each in (self._containerfiles, self._spack)}

    def _layer(self, image: Image, arch: Arch) -> Resolved:
        return self._dib.layer(image, arch) if _is_dibs(image) else self._others[image.builder].layer(image, arch)

    def resolve(self, image: Image, arch: Arch) -> Resolved:
        return (self._dib if _is_dibs(image) else self._others[image.builder]).resolve(image, arch)

    def require_sound(self, image: Image, arch: Arch) -> None:
        if _is_dibs(image):
            self._dib.require_sound(image, arch)

    def layers(self, resolved: Resolved) -> list[Resolved]:
        """Return the layers that a build or layer relies on, nearest first; a parent's are its own builder's."""
        if resolved.spec.builder not in self._others:
            return self._dib.layers(resolved)
        found: list[Resolved] = []
        for each in self._others[resolved.spec.builder].layers(resolved):
            found += [each, *self.layers(each)]
        return list({each.spec.recipe_key: each for each in found}.values())

    def files(self, recipe: Recipe) -> Json:
        image = self._config.images.get(recipe.name.lower())
        return self._dib.files(recipe) if image is None or _is_dibs(image) else self._others[image.builder].files(image)

    def details(self, recipe: Recipe) -> Json:
        image = self._config.images.get(recipe.name.lower())
        if image is None or _is_dibs(image):
            return self._dib.details(recipe)
        return {"recipe": recipe.as_json(), "files": self.files(recipe), "sources": {}}

    def with_claims(self, chosen: Sequence[Target]) -> tuple[list[Target], list[str]]:
        complete, told = self._dib.with_claims([each for each in chosen if _is_dibs(each.image)])
        found = iter(complete)
        return [next(found) if _is_dibs(each.image) else self._with_own(each) for each in chosen], told

    def remarks(self, resolved: Sequence[tuple[Image, Arch, Resolved]], known: Known) -> Iterable[str]:
        yield from self._dib.remarks([each for each in resolved if _is_dibs(each[0])], known)
        yield from self._containerfiles.notes()
        yield from self._spack.remarks([each[:2] for each in resolved if each[0].builder == self._spack.name])

    def close(self) -> None:
        self._dib.close()

    def _with_own(self, target: Target) -> Target:
        """Return an image with the checks that the catalogue asks of it and of its parents."""
        image, arch = target
        checks = own_checks(self._config.lineage(image))
        if image.builder == self._spack.name:
            image = self._spack.with_version(image, arch)
        return Target(replace(image, checks=named(checks, image.boot)), arch)


def _is_dibs(image: Image) -> bool:
    return image.builder == "dib"


class CatalogueBuilder:
    """Resolves the images of every builder; see `builders.resolver.ImageBuilder`."""

    def host_facts(self, arches: Collection[Arch]) -> HostFacts:
        found: HostFacts = loaded("dib").host_facts(arches)
        return found

    def resolver(
        self,
        config: Config,
        store: Store,
        host: HostFacts,
        *,
        fetch: bool,
        offline: bool = False,
        stop: threading.Event | None = None,
    ) -> CatalogueResolver:
        dib: DibResolver = loaded("dib").resolver(config, store, host, fetch=fetch, offline=offline, stop=stop)
        return CatalogueResolver(config, dib, store, asks=fetch and not offline, stop=stop)


CATALOGUE = CatalogueBuilder()
