"""Attempts of builder hosts as holdings of a store: the blobs that they need, and those that nobody will look at."""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from cc_images.api.remains import HALF_WRITTEN, Item, size_of, written_at
from cc_images.errors import CCImagesError
from cc_images.host.files import tree_size
from cc_images.model.status import Holding, Kind
from cc_images.remote import attempt_files
from cc_images.store.records import Store

ENDED_DAYS, SILENT_DAYS = 7, 30
"""Days for which an attempt that has ended is kept, and one that never ended and says nothing any more."""


def attempt_blobs(store: Store) -> dict[str, str]:
    """Return the blobs that open attempts read or have brought, and those of results that are not fenced."""
    using: dict[str, str] = {}
    for each in attempt_files.every(store):
        if each.fenced():
            continue
        names = each.outputs.held()
        with suppress(CCImagesError):  # an unreadable list keeps what has come, and says nothing of inputs
            names |= each.inputs() if each.is_open() else set()
        using |= dict.fromkeys(names, f"attempt {each.attempt}")
    return using


def attempts(store: Store) -> list[Item]:
    """Return the attempts of a store, and what a killed process has left of one."""
    items: list[Item] = []
    for each in attempt_files.every(store):
        in_use = "" if is_over(each, time.time()) else "it is open" if each.is_open() else "it has just ended"
        files = [*each.folder.glob("*"), *each.folder.glob("partial/*")]  # its blobs count where they are
        size = sum(size_of(path) for path in files if path.is_file())
        holding = Holding(kind=Kind.STRAY, name="attempt", version=each.attempt, size=size,
                          used=written_at(each.folder), in_use=in_use)  # fmt: skip
        items.append(Item(holding, lambda each=each, size=size: _removed(each.folder, size)))  # type: ignore[misc]
    for path in sorted((store.root / "attempts").glob(".a*.*")):
        if time.time() - written_at(path) > HALF_WRITTEN:
            holding = Holding(kind=Kind.STRAY, name="half written", version=path.name, size=tree_size(path), used=0)
            items.append(Item(holding, lambda path=path, size=holding.size: _removed(path, size)))  # type: ignore[misc]
    return items


def is_over(files: attempt_files.AttemptFiles, now: float) -> bool:
    """Say whether an attempt ended so long ago, or is silent for so long, that nobody will look at it any more."""
    last = max(map(written_at, files.folder.glob("*")), default=now)
    return now - last > (SILENT_DAYS if files.is_open() else ENDED_DAYS) * 86400


def _removed(folder: Path, size: int) -> int:
    """Remove an attempt; a crash leaves it whole, or under a name that is no attempt's."""
    gone = folder.with_name(f".{folder.name.lstrip('.')}.{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
    return size
