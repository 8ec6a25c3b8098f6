"""The lock files that a store keeps, and the packages that they name."""

from __future__ import annotations

from cc_images.builders.spack.generated import CONFIGURATION, LOCK
from cc_images.builders.spack.lock import read
from cc_images.builders.spack.locks import SUFFIX, stored
from cc_images.errors import CCImagesError, Reason
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch
from cc_images.store.records import Store


def needed(store: Store) -> frozenset[str]:
    """Return the hashes of all packages that a lock file which the store keeps names.

    Raises CCImagesError for one that cannot be read: nobody knows what it needs.
    """
    found: set[str] = set()
    for folder in sorted(store.root.glob(f"layers/*{SUFFIX}/*")):
        if folder.name in {each.value for each in Arch}:
            for layer in store.layers(folder.parent.name, Arch(folder.name)):
                if CONFIGURATION in store.details(layer).get("recipe", {}).get("files", {}):
                    found |= _packages(store, layer)
    return frozenset(found)


def _packages(store: Store, layer: Layer) -> set[str]:
    if (text := stored(store, layer)) is None:
        raise CCImagesError(
            f"the {LOCK} of {layer.tag} {layer.arch} {layer.run} cannot be read, so nobody knows what it needs",
            hint="build that image again, then prune",
            reason=Reason.STORE_UNREADABLE,
        )
    return {*read(text).packages}
