"""Upkeep: what the store holds, and carrying out what `pruning` says should go."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images import sandbox
from cc_images.caches import Caches
from cc_images.files import clear_errors, try_lock
from cc_images.model import Arch, Build, Layer
from cc_images.pruning import Holding, Kind, doomed
from cc_images.store import Store, digests

YOUNG = 3600.0
"""Seconds for which a blob that nothing names may still be on its way to its record."""


@dataclass(frozen=True, slots=True)
class Item:
    """A holding, and what removes it and returns the bytes that frees."""

    holding: Holding
    remove: Callable[[], int]


def inventory(store: Store) -> list[Item]:
    """Return everything that the store holds, builds and layers first. Raises CCImagesError when it cannot be read."""
    with clear_errors(store.root):
        return _inventory(store)


def _inventory(store: Store) -> list[Item]:
    using = _in_use(store)
    items: list[Item] = []
    for kind, folder in (*_folders(store, "builds"), *_folders(store, "layers")):
        tag, arch = folder.parent.name, Arch(folder.name)
        found: list[Build | Layer] = [*(store.builds(tag, arch) if kind is Kind.BUILD else store.layers(tag, arch))]
        for rank, made in enumerate(found):
            with suppress(FileNotFoundError):  # another process has just removed it
                items.append(_item(store, kind, made, rank, using))
        good = {store.record_path(made) for made in found}
        for path in sorted({*folder.glob("2*.json")} - good):
            unreadable = Holding(kind=Kind.STRAY, name=f"{tag} {arch}, damaged", version=path.stem, size=0, used=0)
            items.append(Item(unreadable, lambda path=path: store.forget(path)))  # type: ignore[misc]
    caches = Caches(store.root)
    for family, size in sorted(caches.sizes().items()):
        in_use = "a running build" if caches.is_read(family) else ""
        used = caches.last_used(family)
        holding = Holding(kind=Kind.DOWNLOADS, name=family, size=size, used=used, in_use=in_use)
        items.append(Item(holding, lambda family=family: _drop_downloads(store, family)))  # type: ignore[misc]
    return items + _loose(store, using)


def prune(store: Store, *, keep: int, cap: int | None, dry_run: bool) -> list[tuple[Holding, str, int]]:
    """Remove what should go and return it, why, and how many bytes each removal freed (or would free)."""
    items = {item.holding: item for item in inventory(store)}
    gone: list[tuple[Holding, str, int]] = []
    for holding, why in doomed(list(items), keep=keep, cap=cap):
        gone.append((holding, why, holding.size if dry_run else items[holding].remove()))
    return gone


def _item(store: Store, kind: Kind, made: Build | Layer, rank: int, using: dict[str, str]) -> Item:
    names = digests(made)
    holding = Holding(
        kind=kind,
        name=f"{made.tag} {made.arch}",
        version=made.version if isinstance(made, Build) else made.run,
        size=sum(_size(store.blobs.path(digest)) for digest in names),
        used=store.record_path(made).stat().st_mtime,
        rank=rank,
        in_use=next((using[digest] for digest in names if digest in using), ""),
    )
    return Item(holding, lambda: store.forget(made))


def _loose(store: Store, using: dict[str, str]) -> list[Item]:
    """Return artifacts, blobs that nothing names, and what is in quarantine."""
    named = store.named()
    items: list[Item] = []
    for blob in sorted(store.blobs.all()):
        if blob.name in named:
            continue
        note = store.root / "artifacts" / f"{blob.name}.json"
        name, kind, used = blob.name, Kind.STRAY, _changed(blob)
        with suppress(OSError, ValueError, KeyError):
            name, kind, used = json.loads(note.read_text())["name"], Kind.ARTIFACT, note.stat().st_mtime
        if kind is Kind.STRAY and time.time() - used < YOUNG:
            continue
        holding = Holding(
            kind=kind, name=name, version=blob.name, size=_size(blob), used=used, in_use=using.get(blob.name, "")
        )
        items.append(Item(holding, lambda blob=blob, note=note: _drop(store, blob, note)))  # type: ignore[misc]
    for path in sorted((store.root / "quarantine").glob("*")):
        holding = Holding(kind=Kind.STRAY, name="quarantine", version=path.name, size=_size(path), used=0)
        items.append(Item(holding, lambda path=path: _unlink(path)))  # type: ignore[misc]
    return items + [_unfinished(store, folder) for folder in sorted((store.root / "partial").glob("*"))]


def _unfinished(store: Store, folder: Path) -> Item:
    """Return an unfinished download; its artifact's lock tells whether somebody goes on with it now."""
    size = sum(_size(path) for path in folder.glob("*"))
    lock, in_use = store.lock_path(f"artifact {folder.name}"), ""
    if lock.exists():
        if (descriptor := try_lock(lock)) is None:
            in_use = "a running download"
        else:
            os.close(descriptor)
    kind, name = Kind.STRAY, "unfinished download"
    holding = Holding(kind=kind, name=name, version=folder.name, size=size, used=_changed(folder), in_use=in_use)
    return Item(holding, lambda: _drop_unfinished(store, folder))


def _in_use(store: Store) -> dict[str, str]:
    """Return the blobs that running cc-images read, with the names of their runs."""
    using: dict[str, str] = {}
    for work in (store.root / "work").glob("*"):
        with suppress(OSError):  # another user's: let it count as running
            if (work / "lock").exists() and (descriptor := try_lock(work / "lock")) is not None:
                os.close(descriptor)
                continue
        using |= {path.name: f"run {work.name}" for path in (work / "uses").glob("*")}
    return using


def _folders(store: Store, name: str) -> list[tuple[Kind, Path]]:
    kind = Kind.BUILD if name == "builds" else Kind.LAYER
    known = {arch.value for arch in Arch}
    return [(kind, folder) for folder in sorted((store.root / name).glob("*/*")) if folder.name in known]


def _drop_downloads(store: Store, family: str) -> int:
    with store.lock(f"cache {family}"):
        return Caches(store.root).drop(family, sandbox.remove)


def _drop(store: Store, blob: Path, note: Path) -> int:
    with store.lock("gc"):
        if blob.name in store.named():
            return 0
        note.unlink(missing_ok=True)
        return store.blobs.remove(blob.name)


def _drop_unfinished(store: Store, folder: Path) -> int:
    with store.lock(f"artifact {folder.name}"):
        size = sum(_size(path) for path in folder.glob("*"))
        shutil.rmtree(folder, ignore_errors=True)
        return size


def _unlink(path: Path) -> int:
    size = _size(path)
    path.unlink(missing_ok=True)
    return size


def _changed(path: Path) -> float:
    try:
        return path.stat().st_ctime
    except OSError:
        return time.time()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
