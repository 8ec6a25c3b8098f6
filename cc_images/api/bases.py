"""Base images: what containers can be built from, in the store, and in the registries that take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from cc_images.config.loader import Config
from cc_images.errors import CCImagesError
from cc_images.host.files import clear_errors
from cc_images.model.base_images import BaseImage, RegistryTag
from cc_images.model.builds import Build
from cc_images.model.catalog import Format, Image
from cc_images.model.site import Site
from cc_images.model.target import Target
from cc_images.sites import LOOK, layouts
from cc_images.sites.registry_listing import listing
from cc_images.sites.registry_names import place_of
from cc_images.sites.skopeo import Registry, Skopeo
from cc_images.sites.targets import formats_for, name_for
from cc_images.store.records import Store

AT_ONCE = 8
"""Registries that are asked at a time."""

CONTAINERS = frozenset({Format.OCI, Format.SIF})
"""Formats of images for containers."""

Open = Callable[[Site], Registry]


def bases(config: Config) -> list[BaseImage]:
    """Return the images for containers, and the images that these build on, in the catalogue's order.

    Abstract ones are left out: there is no image of them. Raises CCImagesError for a store that cannot be read.
    """
    store, every = Store(config.store), config.images.values()
    parents = {parent for image in every if CONTAINERS & {*image.formats} for parent in image.depends}
    found: list[BaseImage] = []
    with clear_errors(store.root):
        for image in every:
            if image.abstract or not (image.tag in parents or CONTAINERS & {*image.formats}):
                continue
            children = tuple(each.tag for each in every if image.tag in each.depends)
            for arch in image.arches:
                build = store.in_force(image.tag, arch)
                digest = _digest(store, build) if build is not None else ""
                found.append(BaseImage(target=Target(image, arch), children=children, build=build, digest=digest))
    return found


def _digest(store: Store, build: Build) -> str:
    """Return the digest by which a registry would know a build; empty when its file is lost or damaged."""
    if (output := build.outputs.get(Format.OCI)) is None:
        return f"sha256:{next(iter(build.outputs.values())).digest}"
    with suppress(CCImagesError, OSError):
        return layouts.archived_digest(store.blobs.path(output.digest))
    return ""


def registry_tags(config: Config, opened: Open | None = None) -> tuple[list[RegistryTag], dict[str, str]]:
    """Ask all registries at once for the tags of the catalogue's images there.

    Return what they list, and by the names of those that could not be asked why. `opened` makes the connection.
    """
    opened = opened or (lambda site: Skopeo(site, LOOK))
    registries = [site for site in config.sites if site.registry]

    def ask(site: Site) -> list[RegistryTag] | str:
        try:
            return list(_listed(site, opened(site), config))
        except CCImagesError as error:
            return error.message

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip((site.name for site in registries), pool.map(ask, registries), strict=True))
    found = [each for answer in answers.values() if not isinstance(answer, str) for each in answer]
    return found, {name: answer for name, answer in answers.items() if isinstance(answer, str)}


def _listed(site: Site, registry: Registry, config: Config) -> Iterator[RegistryTag]:
    for repository in dict.fromkeys(_repositories(site, config)):
        for each in listing(registry, repository):
            yield RegistryTag(
                site=site.name,
                repository=f"{site.registry}/{repository}",
                tag=each.tag,
                digest=each.digest,
                version=each.version,
                created=each.created,
            )


def _repositories(site: Site, config: Config) -> Iterator[str]:
    chosen: list[Image] = [image for image in config.images.values() if not image.abstract]
    for image in chosen:
        for arch in image.arches:
            for form in formats_for(site, image, arch):
                yield place_of(site, name_for(site, image, arch, form), form).repository
