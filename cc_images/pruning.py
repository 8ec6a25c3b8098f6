"""Pruning: which of the things that a store holds should go. Pure; who carries it out is `upkeep`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a store holds."""

    BUILD = "build"
    LAYER = "layer"
    DOWNLOADS = "downloads"
    ARTIFACT = "artifact"
    STRAY = "stray"
    """A blob that nothing names any more, or one in quarantine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One thing in a store: how many bytes its removal frees, when it was used last (seconds since 1970), its rank.

    `rank` counts the newer ones of the same image and architecture, so the newest has 0. `in_use` says by whom.
    """

    kind: Kind
    name: str
    version: str = ""
    size: int
    used: float
    rank: int = 0
    in_use: str = ""


def doomed(holdings: Sequence[Holding], *, keep: int, cap: int | None = None) -> list[tuple[Holding, str]]:
    """Return what should go and why, in that order: what is beyond the newest `keep`, then what the cap demands.

    Strays go always. Of layers one is kept, since no build starts from an older one. Above `cap` (bytes) the least
    recently used goes first; the newest build of an image and what is in use stay even then.
    """
    gone: list[tuple[Holding, str]] = []
    for holding in holdings:
        if holding.in_use:
            continue
        if holding.kind is Kind.STRAY:
            gone.append((holding, "nothing names it"))
        elif holding.kind is Kind.BUILD and holding.rank >= max(1, keep):
            gone.append((holding, f"{holding.rank} newer ones are kept"))
        elif holding.kind is Kind.LAYER and holding.rank >= 1:
            gone.append((holding, "there is a newer one"))
    if cap is not None:
        left = [holding for holding in holdings if holding not in {each for each, _ in gone}]
        total = sum(holding.size for holding in left)
        for holding in sorted(left, key=lambda each: each.used):
            if total <= cap:
                break
            if holding.in_use or (holding.kind is Kind.BUILD and holding.rank == 0):
                continue
            gone.append((holding, "the store is above its size cap, and this was used least recently"))
            total -= holding.size
    return gone
