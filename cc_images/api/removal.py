"""The removal of holdings from a store: by number, by age, and by size."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType

from cc_images import clock
from cc_images.api.attempts import attempts
from cc_images.api.inventory import Serving, inventory
from cc_images.api.remains import half_written, kept_trees, run_folders
from cc_images.host.files import clear_errors
from cc_images.model.builds import moment
from cc_images.model.status import Holding
from cc_images.store.records import Store
from cc_images.store.retention import doomed, expired, outworn

AT_ONCE = 100
"""Records and blobs that are removed while nobody else may record anything."""


def pruned(
    store: Store,
    *,
    keep: int,
    cap: int | None,
    dry_run: bool,
    serving: Serving = MappingProxyType({}),
    since: float = math.inf,
) -> list[tuple[Holding, str, int]]:
    """Remove what should go and return it, why, and how many bytes each removal freed (or would free)."""
    items = {item.holding: item for item in inventory(store, serving)}
    going = doomed(list(items), keep=keep, cap=cap, since=since, now=clock.now().timestamp())
    freed = {holding: holding.size for holding, _ in going}
    if not dry_run:
        collected = [(holding, collect) for holding, _ in going if (collect := items[holding].collect) is not None]
        for first in range(0, len(collected), AT_ONCE):
            with store.collecting() as names:
                freed |= {holding: collect(names) for holding, collect in collected[first : first + AT_ONCE]}
        freed |= {holding: items[holding].remove() for holding, _ in going if items[holding].collect is None}
    return [(holding, why, freed[holding]) for holding, why in going]


def rotate(store: Store, now: datetime) -> list[str]:
    """Remove what old runs have left: journals, reports, logs, trees of failed builds. Return the names of runs."""
    gone: list[str] = []
    with clear_errors(store.root):
        for item in half_written(store):
            item.remove()
        for item in attempts(store):
            if not item.holding.in_use:
                item.remove()
        for item in kept_trees(store):
            if expired(item.holding, now.timestamp()):
                item.remove()
        for item in run_folders(store):
            run = item.holding
            with suppress(ValueError):
                if not run.in_use and outworn(run.rank, now - moment(run.version)):
                    item.remove()
                    gone.append(run.version)
    return gone
