"""Waves in every order of events: builds, nights, versions that turn out bad, a person who promotes, kills, two hosts.

`tests/real/test_reconcile_deep.py` goes deeper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.planner.waves import Turn, turns
from cc_images.sites.gates import Passage
from cc_images.sites.view import View
from tests.conftest import sampled
from tests.support.exploring import Broken, explore
from tests.support.rollouts import World, beginning

SHALLOW: dict[str, tuple[str, dict[str, int]]] = {
    "a version": ("A", {"nights": 4, "builds": 1}),
    "a version that turns out bad": ("A", {"nights": 5, "builds": 1, "bads": 1}),
    "a kill, and a person who promotes": ("A", {"nights": 2, "builds": 1, "kills": 1, "promotions": 1}),
    "two hosts": ("AB", {"nights": 3, "builds": 1}),
}


@pytest.mark.parametrize("name", sampled(SHALLOW, 2))
def test_the_rules_of_waves_hold_in_every_order_of_events(name: str) -> None:
    hosts, budget = SHALLOW[name]
    assert explore(World(), beginning(hosts, **budget)).ends > 50


def unasked(version: str, own: View, before: Mapping[tuple[str, Format], View]) -> Passage:
    """Let a version go on, whatever the wave before has and how it is there."""
    return Passage()


def unbaked(sites: Sequence[Site], *words: object, **how: object) -> list[Turn]:
    """Choose versions as if each had baked."""
    return turns(sites, *words, **how | {"promote": True})  # type: ignore[arg-type]


def behind(*words: object, **how: object) -> list[Turn]:
    """Choose versions, each to be pushed after what replaces it on the wave before."""
    return [replace(turn, ahead=False) for turn in turns(*words, **how)]  # type: ignore[arg-type]


def forgiving(*words: object) -> None:
    """Take nothing back."""


PLANTED: dict[str, tuple[World, dict[str, int], str]] = {
    "health is not asked": (World(passage=unasked), {"nights": 4, "builds": 1, "bads": 1}, "which is bad"),
    "nothing bakes": (World(turns=unbaked), {"nights": 2, "builds": 1}, "which has been on one for 0 hours"),
    "what has baked goes last": (World(turns=behind), {"nights": 5, "builds": 2}, "which has baked, and two has not"),
    "nothing is taken back": (
        World(to_take_back=forgiving),
        {"nights": 5, "builds": 1, "bads": 1, "kills": 1},
        "which is held",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_rule_that_is_missing_is_found_out(name: str) -> None:
    world, budget, said = PLANTED[name]
    with pytest.raises(Broken, match=said):
        explore(world, beginning("A", **budget))
