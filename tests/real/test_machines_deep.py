"""Decisions about machines for builds, as deep as some minutes allow; the short ones are in `tests/unit/remote`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cc_images.remote.machine_steps import Policy
from tests.support.exploring import explore
from tests.support.machine_model import POLICY, World, beginning
from tests.unit.remote.test_machines import SHORT, WARM, wandered

DEEP: dict[str, tuple[Policy, dict[str, Any]]] = {
    "two who wait for one machine, and a fault": (POLICY, {"wants": 2, "faults": 1}),
    "two who wait for two, two faults and a death": (
        replace(POLICY, maximum=2),
        {"wants": 2, "faults": 2, "deaths": 1},
    ),
    "a warm reserve, a sweep, and two faults": (WARM, {"faults": 2, "sweeps": 1}),
    "machines that expire, a death, and another head": (SHORT, {"faults": 1, "deaths": 1, "others": 1}),
    "a node, a sweep, two faults and a death": (POLICY, {"nodes": True, "faults": 2, "deaths": 1, "sweeps": 1}),
    "a warm reserve that expires, and a death": (replace(WARM, ttl=5), {"wants": 2, "deaths": 1}),
}

MOST, WAYS = 60_000, 500
"""States that are visited at most, the nearest first; and long ways at random."""


@pytest.mark.deep
@pytest.mark.parametrize("name", DEEP)
def test_the_rules_hold_in_every_order_of_events(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    policy, budget = DEEP[name]
    explored = explore(World(policy=policy), beginning(**budget), MOST)
    with capsys.disabled():
        print(f"\n{name}: {explored.states} states, {explored.moves} moves, {explored.ends} brought to an end")
    assert explored.ends > 1000


@pytest.mark.deep
def test_the_rules_hold_on_long_random_ways() -> None:
    assert sum(wandered(seed) for seed in range(1000, 1000 + WAYS)) > 50 * WAYS
