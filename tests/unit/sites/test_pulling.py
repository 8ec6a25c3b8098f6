"""Pulls: a site follows a catalogue forward and back, in every order of events and with kills.

`tests/real/test_reconcile_deep.py` goes deeper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cc_images.sites.entry import Entry
from cc_images.sites.pulling import PULLED, Named, Way, way_to
from cc_images.sites.view import View
from tests.support.atomic import first, seen, version
from tests.support.exploring import Broken, explore
from tests.support.pulls import World, beginning


@pytest.mark.parametrize("keep", [None, 0, 1])
def test_a_site_has_what_the_catalogue_names_in_every_order_of_events(keep: int | None) -> None:
    explored = explore(World(keep), beginning(releases=1, turns=2, pulls=3, kills=1))
    assert explored.ends > 100


def never_back(named: Named, view: View, ours: Callable[[str], bool]) -> Way:
    """Decide without the rule that another pull may have followed the catalogue back."""
    return way_to(named, view, lambda run: False)


def by_memory(named: Named, view: View, ours: Callable[[str], bool]) -> Way:
    """Decide without the rule that what a run of this store has published is no person's change."""
    return replace(way_to(named, view, ours), by_us=False)


@pytest.mark.parametrize(
    ("way", "keep", "said"),
    [(never_back, None, "it was rolled back here"), (by_memory, 0, "all is calm, and the site has")],
)
def test_a_rule_that_is_missing_is_found_out(way: Callable[..., Way], keep: int | None, said: str) -> None:
    with pytest.raises(Broken, match=said):
        explore(World(keep, way), beginning(releases=1, turns=2, pulls=3, kills=1))


# -- faults that this has found ----------------------------------------------------------------------------------------


def site(*images: Entry) -> View:
    return seen(images)


def named(content: str) -> Named:
    return Named(version=content, sha512=content, size=1)


def test_a_version_that_the_site_never_had_is_pulled_when_the_catalogue_goes_back_to_it() -> None:
    pulled = replace(first("v3"), properties=version("v3") | {PULLED: "20261103-v1"})
    assert way_to(named("v2"), site(pulled), lambda run: True) == Way(by_us=True)
    assert "not from this catalogue" in way_to(named("v2"), site(first("v3")), lambda run: True).stays


def test_a_version_that_a_killed_pull_has_recalled_is_brought_back_without_bytes() -> None:
    recalled = replace(first("v1"), name="N.h2.staged", run="h2", target="N", recalled=True)
    assert way_to(named("v1"), site(first("v2"), recalled), lambda run: True).back == recalled
