"""Retention: which of the things that a store holds should go. Pure; `api.removal` carries it out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

from cc_images.model.status import Holding, Kind

RUNS, RUN_DAYS, LEAST_RUNS = 200, 90, 20
"""Runs whose journals and logs are kept at most; after so many days they go, too, but for the newest few."""


KEPT_DAYS = 14
"""Days for which the tree of a failed build is kept."""


def outworn(rank: int, age: timedelta) -> bool:
    """Say whether a run's journal and logs shall go by themselves; `rank` counts the newer runs."""
    return rank >= RUNS or (rank >= LEAST_RUNS and age > timedelta(days=RUN_DAYS))


def expired(holding: Holding, now: float) -> bool:
    """Say whether a holding is the tree of a failed build that nobody will look at any more."""
    return holding.kind is Kind.KEPT and not holding.in_use and now - holding.used > KEPT_DAYS * 86400


def doomed(
    holdings: Sequence[Holding], *, keep: int, cap: int | None = None, since: float = math.inf, now: float = 0.0
) -> list[tuple[Holding, str]]:
    """Return what should go and why, in that order: what is beyond the newest `keep`, then what the cap demands.

    Strays go always, kept trees after `KEPT_DAYS`. Of layers the newest is kept, since no build starts from an
    older one; of checkouts the one that was used last. Above `cap` (bytes) the least recently used goes first,
    these too; the newest build of an image, the last runs and what is in use stay. So does what was used from
    `since` on (seconds since 1970): the run that prunes has made it, or would make it again.
    """
    gone = [(holding, why) for holding in holdings if (why := _surplus(holding, keep, now))]
    if cap is not None:
        left = [holding for holding in holdings if holding not in {each for each, _ in gone}]
        total = sum(holding.size for holding in left)
        for holding in sorted(left, key=lambda each: each.used):
            if total <= cap:
                break
            spared = {Kind.BUILD: 1, Kind.RUN: LEAST_RUNS}.get(holding.kind, 0)
            if holding.in_use or holding.rank < spared or holding.used >= since:
                continue
            gone.append((holding, "the store is above its size cap, and this was used least recently"))
            total -= holding.size
    return gone


def _surplus(holding: Holding, keep: int, now: float) -> str:
    """Return why a holding goes even when there is room, or an empty string."""
    if holding.in_use:
        return ""
    if expired(holding, now):
        return f"it is older than {KEPT_DAYS} days"
    if holding.kind is Kind.STRAY:
        return "no record names it"
    if holding.kind is Kind.BUILD and holding.rank >= max(1, keep):
        return f"{holding.rank} other{'s' * (holding.rank > 1)} that are newer or in force stay"
    if holding.kind in (Kind.LAYER, Kind.KEPT) and holding.rank >= 1:
        return "there is a newer one"
    if holding.kind is Kind.ELEMENTS and holding.rank >= 1:
        return "another commit was used since"
    return ""
