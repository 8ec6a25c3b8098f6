"""Decisions about builds on other hosts, as deep as some minutes allow; the short ones are in `tests/unit/remote`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.attempt_model import World, beginning
from tests.support.exploring import explore
from tests.unit.remote.test_attempts import LONG, Budget, found_out, wandered

DEEP: dict[str, tuple[dict[str, Any], Budget, int | None]] = {
    "a run that is killed": ({}, {"faults": 0, "runs": 1}, None),
    "runs that are killed and asked to stop": ({}, {"faults": 0, "runs": 1, "stop": 1}, None),
    "a fault": ({}, {"faults": 1}, None),
    "a fault, and no way to cancel": ({"cancels": False}, {"faults": 1}, None),
    "a fault, a kill, and somebody who asks to stop": ({}, {"faults": 1, "runs": 1, "stop": 1}, 150_000),
    "two faults": ({}, {"faults": 2}, 150_000),
    "two faults, and no way to cancel": ({"cancels": False}, {"faults": 2}, 150_000),
}
"""How the world is, what may go wrong, and how many states are visited at most: the nearest first."""

WAYS = 4_000


@pytest.mark.parametrize("name", LONG)
def test_a_promise_that_is_broken_is_found_out(name: str) -> None:
    found_out(name)


@pytest.mark.deep
@pytest.mark.parametrize("name", DEEP)
def test_the_rules_hold_in_every_order_of_events(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    how, budget, limit = DEEP[name]
    explored = explore(World(**how), beginning(**budget), limit or 10**9)
    with capsys.disabled():
        print(f"\n{name}: {explored.states} states, {explored.moves} moves, {explored.ends} brought to an end")
    assert explored.ends > 1000


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.deep) for part in (1, 2, 3))])
def test_the_rules_hold_on_long_random_ways(part: int) -> None:
    assert sum(wandered(seed) for seed in range(part * WAYS // 4, (part + 1) * WAYS // 4)) > 3 * WAYS
