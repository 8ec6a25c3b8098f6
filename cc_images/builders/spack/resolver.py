"""Spack images as they are resolved on this host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cc_images import clock
from cc_images.builders.containerfile.recipes import Recipes as ContainerfileRecipes
from cc_images.builders.resolved import Resolved
from cc_images.builders.spack import locks
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.lock import Locked, read
from cc_images.builders.spack.locks import SUFFIX
from cc_images.builders.spack.recipes import Recipes
from cc_images.builders.spack.spec import SpackSpec
from cc_images.config.contexts import OF_SPACK, spack_checkouts
from cc_images.config.loader import Config
from cc_images.errors import UserError
from cc_images.model.catalog import Arch, Image, Json
from cc_images.store.records import Store

RELOCKED = "relocked"
SHOWN = 8
"""Packages that a remark names."""


class SpackResolver:
    """Resolves images that Spack makes, and their locks."""

    name = "spack"

    def __init__(self, config: Config, store: Store, containerfiles: ContainerfileRecipes, *, relock: bool) -> None:
        self._config, self._store, self._relock = config, store, relock
        self._recipes = Recipes(containerfiles=containerfiles, generation=self._generation)

    def resolve(self, image: Image, arch: Arch) -> Resolved:
        """Return an image with its spec; see `builders.resolved.Resolver`."""
        return self._recipes.build(image, arch)

    def layer(self, image: Image, arch: Arch) -> Resolved:
        """Return the layer of an image, from which others start."""
        return self._recipes.layer(image, arch)

    def layers(self, resolved: Resolved) -> list[Resolved]:
        """Return the layers that a build or layer relies on itself."""
        return self._recipes.layers(resolved)

    def files(self, image: Image) -> Json:
        """Return the digests of the files of an image's folder."""
        return {"context": self._recipes.files(image)}

    def with_version(self, image: Image, arch: Arch) -> Image:
        """Return an image with the version that its lock says, as far as it says none itself and the lock is known."""
        if image.version:
            return image
        locked = self._locked(image, arch)
        return replace(image, version=locked.tag) if locked is not None else image

    def remarks(self, resolved: Iterable[tuple[Image, Arch]]) -> Iterator[str]:
        """Say how many packages of each image are in the build cache, and which will be compiled."""
        caches = Caches(self._config.build_caches, self._store.root)
        resolved = list(resolved)
        yield from dict.fromkeys(said for image, arch in resolved for said in self._fetched(image, arch))
        for image, arch in resolved:
            locked = self._locked(image, arch)
            if locked is None:
                yield f"{image.tag} {arch}: its lock is made first; which packages are compiled is known then"
                continue
            known = caches.known(locked.to_build)
            missing = [each for each in locked.to_build if each.hash not in known]
            names = [each.label for each in missing] if {each.hash for each in missing} & locked.installed else []
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            said = f"compiled: {', '.join(names[:SHOWN])}{more}" if names else "none is compiled"
            count = len(locked.to_build)
            yield f"{image.tag} {arch}: {count - len(names)} of {count} packages are in the build cache, {said}"

    def _fetched(self, image: Image, arch: Arch) -> Iterator[str]:
        """Say that Spack is fetched to make the image in which it compiles, since the user names no checkout."""
        layer_of = self._recipes.containerfiles.parent_layer
        for each in self._config.lineage(self._config.images[image.depends[1]]):
            if missing := spack_checkouts(each):
                key = layer_of(each, arch).spec.recipe_key
                if any(layer.recipe_key == key for layer in self._store.layers(each.tag, arch)):
                    continue
                keys = ", ".join(f"{name}: FOLDER" for name in missing)
                variables = " and ".join(OF_SPACK[name] for name in missing)
                yield (
                    f"{each.tag}: Spack is fetched from {' and '.join(missing.values())}, since no checkout is named: "
                    f"say `spack: {{{keys}}}` in settings.yaml, or set {variables}"
                )

    def _locked(self, image: Image, arch: Arch) -> Locked | None:
        """Return the lock by which an image is built, if it is stored."""
        lock = self._recipes.lock(image, arch)
        assert isinstance(lock.spec, SpackSpec)
        text = locks.by_key(self._store, lock.spec.tag, arch, lock.spec.recipe_key)
        try:
            return read(text, lock.spec.first) if text is not None else None
        except UserError:
            return None

    def _generation(self, image: Image, arch: Arch, has_lock: bool) -> tuple[str, bool]:
        """Return the name of the lock that `--relock` has asked for last, and whether it is to be made now."""
        if self._relock:
            return f"{clock.now():%Y%m%dT%H%M%S}", True
        if has_lock:
            return "", False
        newest = next(self._store.layers(f"{image.tag}{SUFFIX}", arch), None)
        said = self._store.details(newest).get("recipe", {}).get("files", {}) if newest is not None else {}
        return str(said.get(RELOCKED, "")), False
