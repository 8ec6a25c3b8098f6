"""Inputs on a builder host: blobs of the head that its own store lacks."""

from __future__ import annotations

from pathlib import Path

from cc_images.host.files import Written
from cc_images.remote.client import Hub
from cc_images.store.records import Store


def bring(hub: Hub, store: Store, digest: str, folder: Path) -> None:
    """Bring a blob of the head into a store; `folder`, on the store's file system, keeps a piece for the next try.

    Raises what `Hub.fetch` raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / digest
    hub.fetch(digest, staged)  # it has hashed the bytes as they came
    written = Written(digest=digest, sha512="", size=staged.stat().st_size)
    store.blobs.place(store.blobs.seal(staged, written=written))
