"""What runs leave in a store: half-written files, trees of failed builds, logs and journals."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.model.catalog import Arch
from cc_images.model.status import Holding, Kind
from cc_images.store import kept
from cc_images.store.records import Store

NEWER = "a newer cc-images"
"""Who uses what this version cannot read."""

HALF_WRITTEN = 600.0
"""Seconds after which a file that is still being written belongs to a process that is gone."""


_STAGED = re.compile(r"\..+\.[0-9]+(\.[0-9]+)?")
"""How `files.write_json`, `files.point` and the page of a run call what they write: name, process, thread."""


WRITTEN_TO: Mapping[str, int] = {
    "": 0, "builds": 2, "layers": 2, "boots": 0, "artifacts": 0, "runs": 0, "images": 0, "caches": 1, "indices": 0,
    "kept": 2,
}  # fmt: skip
"""Folders in which files are written beside what they will replace, and how many levels below."""


@dataclass(frozen=True, slots=True)
class Item:
    """A holding, and what removes it and returns the bytes that frees.

    With `collect` instead of `remove` that is done while the store is `collecting`, for many at a time.
    """

    holding: Holding
    remove: Callable[[], int] = lambda: 0
    collect: Callable[[Counter[str]], int] | None = None


def half_written(store: Store) -> list[Item]:
    """Return half-written files of killed runs: a living run needs only a moment for one."""
    items: list[Item] = []
    for path in (path for place, depth in WRITTEN_TO.items() for path in _hidden(store.root / place, depth)):
        if _STAGED.fullmatch(path.name) and time.time() - written_at(path) > HALF_WRITTEN and not path.is_dir():
            holding = Holding(kind=Kind.STRAY, name="half written", version=path.name, size=size_of(path), used=0)
            items.append(Item(holding, lambda path=path: unlink(path)))  # type: ignore[misc]
    return items


def _hidden(folder: Path, depth: int) -> Iterator[Path]:
    """Yield what is hidden in the folders that lie `depth` levels below this one."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if depth and entry.is_dir():
                yield from _hidden(Path(entry.path), depth - 1)
            elif not depth and entry.name.startswith("."):
                yield Path(entry.path)


def kept_trees(store: Store) -> list[Item]:
    """Return the trees that builds have left, newest first for each image, and what has no record."""
    items: list[Item] = []
    for folder in sorted((store.root / "kept").glob("*/*")):
        if folder.name not in {each.value for each in Arch}:
            continue
        name, known = f"{folder.parent.name} {folder.name}", set[str]()
        for rank, found in enumerate(kept.all_of(store.root, folder.parent.name, Arch(folder.name))):
            if found is None:
                continue
            record = kept.record_path(store.root, found)
            known.add(found.run)
            holding = Holding(
                kind=Kind.KEPT, name=f"{name}, {found.why}", version=found.run,
                size=size_of(kept.packed_path(record)), used=found.created, rank=rank,
            )  # fmt: skip
            items.append(Item(holding, lambda record=record: kept.remove(record)))  # type: ignore[misc]
        items += _of_no_record(folder, name, known)
    return items


def _of_no_record(folder: Path, name: str, known: Collection[str]) -> Iterator[Item]:
    """Yield the trees in a folder that have no record, or one of a newer cc-images."""
    for path in sorted(folder.glob(f"2*{kept.PACKED}")):
        run = path.name.removesuffix(kept.PACKED)
        if run not in known and time.time() - written_at(path) > HALF_WRITTEN:
            newer = (folder / f"{run}.json").exists()
            holding = Holding(kind=Kind.KEPT if newer else Kind.STRAY, name=name, version=run, size=size_of(path),
                              used=0, in_use=NEWER if newer else "")  # fmt: skip
            yield Item(holding, lambda path=path: unlink(path))  # type: ignore[misc]


def run_folders(store: Store) -> list[Item]:
    """Return what runs have left to be read, the newest first."""
    places = [*(store.root / "logs").glob("2*"), *(store.root / "runs").glob("2*")]
    runs = sorted({path.name.removesuffix(".json").removesuffix(".html") for path in places}, reverse=True)
    items: list[Item] = []
    for rank, run in enumerate(runs):
        files = _left_by(store, run)
        size, used = sum(map(size_of, files)), max(map(changed_at, files), default=0.0)
        in_use = "it is at work" if (store.root / "work" / run).is_dir() else ""
        holding = Holding(kind=Kind.RUN, name="logs", version=run, size=size, used=used, rank=rank, in_use=in_use)
        items.append(Item(holding, lambda run=run: _drop_run(store, run)))  # type: ignore[misc]
    return items


def _left_by(store: Store, run: str) -> list[Path]:
    beside = [store.root / "runs" / f"{run}{ending}" for ending in (".json", ".html", "/events.jsonl")]
    return [*(store.root / "logs" / run).glob("*"), *(path for path in beside if path.exists())]


def _drop_run(store: Store, run: str) -> int:
    files = _left_by(store, run)
    freed = sum(map(unlink, files))
    for folder in ("logs", "runs"):
        with suppress(OSError):  # somebody has put a folder there, or there is none
            (store.root / folder / run).rmdir()
    return freed


def unlink(path: Path) -> int:
    """Remove a file, if it is one; return the bytes that frees."""
    size = size_of(path)
    try:
        path.unlink(missing_ok=True)
    except OSError:  # somebody has put a folder there
        return 0
    return size


def written_at(path: Path) -> float:
    """Return when a file was written last, in seconds since 1970; now for one that is gone."""
    with suppress(OSError):
        return path.lstat().st_mtime
    return time.time()


def changed_at(path: Path) -> float:
    """Return when a file or its attributes changed last, in seconds since 1970; now for one that is gone."""
    with suppress(OSError):
        return path.lstat().st_ctime
    return time.time()


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 for one that is gone."""
    with suppress(OSError):
        return path.lstat().st_size
    return 0
