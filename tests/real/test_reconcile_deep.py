"""Decisions of publishing, as deep as two minutes allow; the short ones are in `tests/unit/sites/test_reconcile.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support import exploring, pulls, rollouts
from tests.support.belongings import ASPECTS
from tests.support.settling import explore
from tests.support.worlds import BACK, RETIRE, Host, beginning
from tests.unit.sites.test_directory import anything_happens
from tests.unit.sites.test_reconcile import A_TWICE, A, B, Budget, wandered

ROLLS_BACK = Host("A", (BACK,))

DEEP: dict[str, tuple[tuple[Host, ...], Budget]] = {
    "one host, three faults": ((A,), {"faults": 3, "deeds": 1, "kills": 1}),
    "one host, two deeds": ((A,), {"faults": 1, "deeds": 2, "kills": 1}),
    "two nights": ((A_TWICE,), {"faults": 1, "deeds": 1, "kills": 1}),
    "two hosts and a fault": ((A, B), {"faults": 1, "deeds": 0, "kills": 0}),
    "two hosts and a person": ((A, B), {"faults": 0, "deeds": 1, "kills": 0}),
    "two hosts, a fault and a kill": ((A, B), {"faults": 1, "deeds": 0, "kills": 1}),
    "a rollback, three faults": ((ROLLS_BACK,), {"faults": 3, "deeds": 1, "kills": 1}),
    "a rollback between two nights": ((Host("A", ("a", BACK, "a")),), {"faults": 1, "deeds": 1, "kills": 1}),
    "a push beside a rollback": ((A, Host("B", (BACK,))), {"faults": 1, "deeds": 0, "kills": 1}),
    "two rollbacks and a person": ((ROLLS_BACK, Host("B", (BACK,))), {"faults": 0, "deeds": 1, "kills": 0}),
    "two retirements, three faults": ((Host("A", (RETIRE, RETIRE)),), {"faults": 3, "deeds": 1, "kills": 1}),
    "a retirement between two nights": ((Host("A", ("a", RETIRE, "b")),), {"faults": 1, "deeds": 1, "kills": 1}),
    "a retirement beside a rollback and a push": (
        (Host("A", (RETIRE,)), Host("B", (BACK, "b"))),
        {"faults": 1, "deeds": 0, "kills": 1, "use": "used"},
    ),
    "two retirements and a person": (
        (Host("A", (RETIRE,)), Host("B", (RETIRE,))),
        {"faults": 0, "deeds": 1, "kills": 0},
    ),
    "what people put on it": ((A,), {"faults": 1, "deeds": 1, "kills": 1, "aspects": ASPECTS}),
    "what people put on it twice": ((A,), {"faults": 0, "deeds": 2, "kills": 0, "aspects": ASPECTS}),
    "a retirement of what people put things on": (
        (Host("A", ("a", RETIRE, "b")),),
        {"faults": 0, "deeds": 1, "kills": 1, "aspects": ("members", "protected")},
    ),
    "two hosts that publish first": ((A, B), {"faults": 1, "deeds": 0, "kills": 1, "first": True}),
}

PULLS: dict[str, tuple[int | None, dict[str, int]]] = {
    "a catalogue that goes back often": (None, {"releases": 2, "turns": 2, "pulls": 3, "kills": 1}),
    "a site that keeps nothing": (0, {"releases": 2, "turns": 1, "pulls": 3, "kills": 2}),
}

WAVES: dict[str, tuple[str, dict[str, int]]] = {
    "a version that turns out bad, and a kill": ("A", {"nights": 4, "builds": 2, "bads": 1, "kills": 1}),
    "two hosts and a version that turns out bad": ("AB", {"nights": 4, "builds": 2, "bads": 1}),
}

WAYS = 10_000


LONGEST = ("what people put on it twice", "two hosts that publish first", "a catalogue that goes back often",
           "a version that turns out bad, and a kill")  # fmt: skip


def chosen(names: Iterable[str]) -> list[Any]:
    """Return the names of worlds, of which the longest are deep."""
    return [pytest.param(name, marks=pytest.mark.deep) if name in LONGEST else name for name in names]


@pytest.mark.deep
@pytest.mark.parametrize("name", DEEP)
def test_the_rules_hold_in_every_order_of_events(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    hosts, budget = DEEP[name]
    explored = explore(beginning(hosts, **budget))
    with capsys.disabled():
        print(f"\n{name}: {explored.states} states, {explored.moves} calls, {explored.ends} ends, each put in order")
    assert explored.ends > 60


@pytest.mark.parametrize("name", chosen(PULLS))
def test_a_site_has_what_its_catalogue_names(name: str) -> None:
    keep, budget = PULLS[name]
    assert exploring.explore(pulls.World(keep), pulls.beginning(**budget)).ends > 500


@pytest.mark.parametrize("name", chosen(WAVES))
def test_a_later_wave_gets_what_is_good_and_nothing_else(name: str) -> None:
    hosts, budget = WAVES[name]
    assert exploring.explore(rollouts.World(), rollouts.beginning(hosts, **budget)).ends > 500


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.deep) for part in (1, 2, 3))])
def test_the_rules_hold_on_long_random_ways(part: int) -> None:
    assert sum(wandered(seed) for seed in range(part * WAYS // 4, (part + 1) * WAYS // 4)) > 3 * WAYS


@pytest.mark.parametrize("seed", range(10, 60))
def test_a_folder_in_which_anything_happens_loses_nothing_of_a_person(tmp_path: Path, seed: int) -> None:
    anything_happens(tmp_path, tmp_path / "site", seed)
