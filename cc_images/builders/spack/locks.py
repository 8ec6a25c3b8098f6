"""Locks that the store keeps: each is a layer, an image of one file."""

from __future__ import annotations

from pathlib import Path

from cc_images.builders.spack.generated import LOCK
from cc_images.errors import CCImagesError, Reason
from cc_images.host.containers import archive
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch
from cc_images.store.records import Store

SUFFIX = "-lock"
"""Ends the tag of the layer that has an image's lock."""

LARGEST = 64 << 20
"""Bytes that a lock may have."""


def newest(store: Store, tag: str, arch: Arch) -> str | None:
    """Return the newest lock of a tag, whatever it was made of; None: there is none that can be read."""
    for layer in store.layers(tag, arch):
        if (text := stored(store, layer)) is not None:
            return text
    return None


def by_key(store: Store, tag: str, arch: Arch, recipe_key: str) -> str | None:
    """Return the newest lock that was made with a recipe key."""
    found = (each for each in store.layers(tag, arch) if each.recipe_key == recipe_key)
    return next((text for each in found if (text := stored(store, each)) is not None), None)


def stored(store: Store, layer: Layer) -> str | None:
    """Return the lock of a layer; None for one that cannot be read."""
    try:
        return text_in(store.blobs.path(layer.digest))
    except (OSError, CCImagesError):
        return None


def text_in(file: Path) -> str:
    """Return the lock that an image of one layer has. Raises CCImagesError."""
    for each in archive.read(file).layers:
        with archive.plain(each) as tar:
            for member in tar:
                if member.name == LOCK and member.isreg() and member.size <= LARGEST:
                    found = tar.extractfile(member)
                    assert found is not None, "it is a file"
                    return found.read().decode(errors="replace")
    raise CCImagesError("the concretization has left no lock", reason=Reason.NO_RESULT)
