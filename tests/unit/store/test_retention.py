"""What goes and what stays: pure decisions."""

from __future__ import annotations

from cc_images.model.status import Holding, Kind
from cc_images.store.retention import doomed


def holding(kind: Kind, name: str, size: int = 10, used: float = 0, rank: int = 0, in_use: str = "") -> Holding:
    return Holding(kind=kind, name=name, size=size, used=used, rank=rank, in_use=in_use)


OLD, NEW = holding(Kind.BUILD, "old", used=1, rank=1), holding(Kind.BUILD, "new", used=9)
LAYER, OLD_LAYER = holding(Kind.LAYER, "layer", used=5), holding(Kind.LAYER, "old layer", rank=1)
DOWNLOADS = holding(Kind.DOWNLOADS, "downloads", used=3)
STRAY = holding(Kind.STRAY, "stray")
ALL = [OLD, NEW, LAYER, OLD_LAYER, DOWNLOADS, STRAY]


def names(keep: int, cap: int | None = None, held: list[Holding] = ALL) -> list[str]:
    return [each.name for each, why in doomed(held, keep=keep, cap=cap) if why]


def test_the_newest_stay_and_strays_go() -> None:
    assert names(keep=2) == ["old layer", "stray"]
    assert names(keep=1) == ["old", "old layer", "stray"]
    assert names(keep=0) == ["old", "old layer", "stray"], "the newest build always stays"


def test_a_cap_takes_the_least_recently_used_first_and_never_the_newest_build() -> None:
    assert names(keep=9, cap=30) == ["old layer", "stray", "old"]
    assert names(keep=9, cap=20) == ["old layer", "stray", "old", "downloads"]
    assert names(keep=9, cap=0) == ["old layer", "stray", "old", "downloads", "layer"]


def test_what_is_in_use_stays() -> None:
    held = [holding(kind, kind, rank=5, in_use="run 1") for kind in Kind]
    assert names(keep=1, cap=0, held=held) == []


def test_a_cap_never_takes_what_the_run_has_just_made_or_used() -> None:
    held = [LAYER, DOWNLOADS, NEW]
    assert [each.name for each, _ in doomed(held, keep=1, cap=0, since=4)] == ["downloads"]
