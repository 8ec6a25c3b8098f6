"""The inventory of a store: its holdings, their users, and how to remove each."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

from cc_images.api.attempts import attempt_blobs, attempts
from cc_images.api.remains import NEWER, Item, changed_at, half_written, kept_trees, run_folders, size_of, unlink
from cc_images.builders.download_cache import Caches
from cc_images.host import root
from cc_images.host.files import clear_errors, is_held, tree_size, try_lock
from cc_images.model.builds import Build, Layer
from cc_images.model.catalog import Arch
from cc_images.model.status import Holding, Kind
from cc_images.sources import git
from cc_images.store.records import Store, digests

Serving = Mapping[tuple[str, Arch], Collection[str]]
"""The versions that serve the present inputs, by tag and architecture."""


YOUNG = 3600.0
"""Seconds for which a blob that nothing names may still be on its way to its record."""


def inventory(store: Store, serving: Serving = MappingProxyType({})) -> list[Item]:
    """Return everything that the store holds, builds and layers first.

    What is in `serving`, or was in force last, ranks before what is newer. Raises CCImagesError for a store that cannot
    be read.
    """
    with clear_errors(store.root):
        return _inventory(store, serving)


def _inventory(store: Store, serving: Serving) -> list[Item]:
    using = _in_use(store)
    items: list[Item] = []
    for kind, folder in (*_folders(store, "builds"), *_folders(store, "layers")):
        tag, arch = folder.parent.name, Arch(folder.name)
        found: list[Build | Layer] = [*(store.builds(tag, arch) if kind is Kind.BUILD else store.layers(tag, arch))]
        if kind is Kind.BUILD:  # what is in force comes first, whatever is newer
            served = {*serving.get((tag, arch), ()), store.current(tag, arch)}
            found.sort(key=lambda made: isinstance(made, Build) and made.version not in served)
        for rank, made in enumerate(found):
            in_force = isinstance(made, Build) and made.version in serving.get((tag, arch), ())
            with suppress(FileNotFoundError):  # another process has just removed it
                items.append(_item(store, kind, made, 0 if in_force else rank, using))
        records = {folder / name for name in os.listdir(folder) if name.startswith("2") and name.endswith(".json")}
        for path in sorted(records - {store.record_path(made) for made in found}):
            if store.is_newer(path):
                known = Holding(kind=kind, name=f"{tag} {arch}", version=path.stem, size=0, used=0, in_use=NEWER)
                items.append(Item(known, lambda: 0))
                continue
            unreadable = Holding(kind=Kind.STRAY, name=f"{tag} {arch}, damaged", version=path.stem, size=0, used=0)
            items.append(Item(unreadable, collect=partial(store.forget_one, path)))
    caches = Caches(store.root)
    for family, size in sorted(caches.sizes().items()):
        in_use = "a running build" if caches.is_read(family) else ""
        used = caches.last_used(family)
        holding = Holding(kind=Kind.DOWNLOADS, name=family, size=size, used=used, in_use=in_use)
        items.append(Item(holding, lambda family=family: _drop_downloads(store, family)))  # type: ignore[misc]
    items += _indices(store) + _elements(store) + kept_trees(store) + attempts(store) + _loose(store, using)
    return items + half_written(store) + run_folders(store)


def _item(store: Store, kind: Kind, made: Build | Layer, rank: int, using: dict[str, str]) -> Item:
    names = digests(made)
    holding = Holding(
        kind=kind,
        name=f"{made.tag} {made.arch}",
        version=made.version if isinstance(made, Build) else made.run,
        size=sum(size_of(store.blobs.path(digest)) for digest in names),
        used=store.record_path(made).stat().st_mtime,
        rank=rank,
        in_use=next((using[digest] for digest in names if digest in using), ""),
    )
    return Item(holding, collect=partial(store.forget_one, made))


def _indices(store: Store) -> list[Item]:
    """Return what the store remembers of apt's repositories."""
    folder = store.root / "indices"
    if not folder.is_dir():
        return []
    used = max(map(changed_at, folder.glob("*")), default=0.0)
    holding = Holding(kind=Kind.DOWNLOADS, name="package indices", size=tree_size(folder), used=used)
    return [Item(holding, lambda: sum(map(unlink, [*folder.glob("*")])))]


def _elements(store: Store) -> list[Item]:
    """Return what the store has of third-party elements."""
    working = next((work.name for work in _at_work(store)), "")
    items: list[Item] = []
    ranks: Counter[str] = Counter()
    for each in git.kept(store):
        young = time.time() - each.used < YOUNG
        if not each.what and young:
            continue
        checkout = each.what not in ("", git.REPOSITORY)
        holding = Holding(
            kind=Kind.ELEMENTS if each.what else Kind.STRAY,
            name=each.source,
            version=each.what or each.path.name,
            size=tree_size(each.path),
            used=each.used,
            rank=ranks[each.source] if checkout else 0,
            in_use="it was used within the hour" if young else f"run {working}" if working else "",
        )
        ranks[each.source] += checkout
        items.append(Item(holding, lambda each=each, size=holding.size: _drop_elements(store, each, size)))  # type: ignore[misc]
    return items


def _drop_elements(store: Store, each: git.Kept, size: int) -> int:
    with suppress(OSError):  # another user's, who shares the store
        return size if git.drop(each, store, root.remove) else 0
    return 0


def _loose(store: Store, using: dict[str, str]) -> list[Item]:
    """Return artifacts, blobs that nothing names, and what is in quarantine."""
    named = store.named()
    items: list[Item] = []
    for blob in sorted(store.blobs.all()):
        if blob.name in named:
            continue
        note = store.root / "artifacts" / f"{blob.name}.json"
        name, kind, used = blob.name, Kind.STRAY, changed_at(blob)
        with suppress(OSError):
            if said := store.artifact_name(blob.name):
                name, kind, used = said, Kind.ARTIFACT, note.stat().st_mtime
        if kind is Kind.STRAY and time.time() - used < YOUNG:
            continue
        holding = Holding(
            kind=kind, name=name, version=blob.name, size=size_of(blob), used=used, in_use=using.get(blob.name, "")
        )
        items.append(Item(holding, collect=partial(_drop, store, blob, note)))
    for path in sorted((store.root / "quarantine").glob("*")):
        holding = Holding(kind=Kind.STRAY, name="quarantine", version=path.name, size=size_of(path), used=0)
        items.append(Item(holding, lambda path=path: unlink(path)))  # type: ignore[misc]
    return items + [_unfinished(store, folder) for folder in sorted((store.root / "partial").glob("*"))]


def _unfinished(store: Store, folder: Path) -> Item:
    """Return an unfinished download; its artifact's lock tells whether a run goes on with it now."""
    size = sum(size_of(path) for path in folder.glob("*"))
    in_use = "a running download" if is_held(store.lock_path(f"artifact {folder.name}")) else ""
    kind, name = Kind.STRAY, "unfinished download"
    holding = Holding(kind=kind, name=name, version=folder.name, size=size, used=changed_at(folder), in_use=in_use)
    return Item(holding, lambda: _drop_unfinished(store, folder))


def _in_use(store: Store) -> dict[str, str]:
    """Return the blobs that running cc-images read, with the names of their runs."""
    using: dict[str, str] = {}
    for work in _at_work(store):
        using |= {path.name: f"run {work.name}" for path in work.glob("uses*/*")}
    return attempt_blobs(store) | using


def _at_work(store: Store) -> Iterator[Path]:
    """Yield the folders of the runs that are at work."""
    for work in (store.root / "work").glob("*"):
        if not work.is_dir():
            continue
        with suppress(OSError):  # another user's: let it count as running
            if (work / "lock").exists() and (descriptor := try_lock(work / "lock")) is not None:
                os.close(descriptor)
                continue
        yield work


def _folders(store: Store, name: str) -> list[tuple[Kind, Path]]:
    kind = Kind.BUILD if name == "builds" else Kind.LAYER
    known = {arch.value for arch in Arch}
    return [(kind, folder) for folder in sorted((store.root / name).glob("*/*")) if folder.name in known]


def _drop_downloads(store: Store, family: str) -> int:
    with store.lock(f"cache {family}"):
        return Caches(store.root).drop(family, root.remove)


def _drop(store: Store, blob: Path, note: Path, names: Counter[str]) -> int:
    if names[blob.name] > 0:
        return 0
    note.unlink(missing_ok=True)
    return store.blobs.remove(blob.name)


def _drop_unfinished(store: Store, folder: Path) -> int:
    with store.lock(f"artifact {folder.name}"):
        size = sum(size_of(path) for path in folder.glob("*"))
        shutil.rmtree(folder, ignore_errors=True)
        return size
