"""Images with a Containerfile as they are resolved on this host."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from cc_images.builders.containerfile.numbers import called
from cc_images.builders.containerfile.recipes import Recipes
from cc_images.builders.containerfile.spec import Numbered
from cc_images.builders.resolved import Resolved
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import environment, process
from cc_images.host.containers import archive
from cc_images.host.facts import MISSING
from cc_images.model.catalog import Arch, Image, Json
from cc_images.sources import upstream
from cc_images.store.records import Store


class ContainerfileResolver:
    """Resolves images and layers that buildah makes; `others_layer` resolves the layer of another builder's image."""

    name = "containerfile"

    def __init__(
        self,
        config: Config,
        store: Store,
        others_layer: Callable[[Image, Arch], Resolved],
        *,
        asks: bool,
        stop: threading.Event | None,
    ) -> None:
        self._store, self._asks, self._stop = store, asks, stop
        self._others_layer = others_layer
        self._troubles: dict[str, str] = {}
        self._digest = functools.cache(self._digest_of)
        self.recipes = Recipes(
            config=config,
            builder=version(),
            parent_layer=self.layer,
            digest_of=lambda name, arch: self._digest(name),
            newest=self._newest,
        )

    def resolve(self, image: Image, arch: Arch) -> Resolved:
        """Return an image with its spec; see `builders.resolved.Resolver`."""
        return self.recipes.build(image, arch)

    def layers(self, resolved: Resolved) -> list[Resolved]:
        """Return the layers that a build or layer relies on itself."""
        return self.recipes.layers(resolved)

    def files(self, image: Image) -> Json:
        """Return the digests of the files of an image's context."""
        return {"context": self.recipes.files(image)}

    def notes(self) -> Iterator[str]:
        """Yield which images of registries could not be asked for."""
        for name, why in self._troubles.items():
            yield f"FROM {name}: {why}; it is taken for what it was when it was asked last"

    def layer(self, image: Image, arch: Arch) -> Resolved:
        """Return the layer of an image, from which others start; it may be another builder's."""
        return self.recipes.layer(image, arch) if image.builder == self.name else self._others_layer(image, arch)

    def _newest(self, tag: str, arch: Arch) -> Numbered:
        """Return what the newest stored layer of an image is called."""
        for layer in self._store.layers(tag, arch):
            with suppress(CCImagesError):
                return called(archive.read(self._store.blobs.path(layer.digest)))
        return Numbered()

    def _digest_of(self, name: str) -> str:
        """Return the digest of an image of a registry: as it is named, as it is now, or as it was seen last."""
        if "@" in name:
            return name.partition("@")[2]
        address = f"docker://{name}"
        state = upstream.look([address], self._store.root / "upstream.json", offline=not self._asks, stop=self._stop)
        if address not in state.digests:
            raise UserError(
                f"FROM {name}: nobody knows what that is now: {state.troubles[address]}",
                hint="name it by its digest (NAME@sha256:…), or as an image of the catalogue; `skopeo inspect` tells",
                reason=Reason.UNREACHABLE,
            )
        if self._asks and address in state.troubles:
            self._troubles[name] = state.troubles[address]
        return state.digests[address]


@functools.cache
def version() -> str:
    """Return the version of buildah on this host, or MISSING."""
    if shutil.which("buildah") is None:
        return MISSING
    words = process.run(["buildah", "--version"], env=environment.plain()).split()
    return words[2] if len(words) > 2 else MISSING
