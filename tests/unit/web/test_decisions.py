"""Decisions of the service's queue: everything that can happen to two builds, in every order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cc_images.web import decisions
from cc_images.web.decisions import RULES, Launch, Observed, Room, Rule, Stop, decide
from tests.support.exploring import Broken, explore
from tests.support.queue_model import World, beginning


def test_none_is_lost_none_built_twice_and_none_runs_for_ever() -> None:
    found = explore(World(), beginning(faults=3, cancels=2))
    assert found.ends > 100, "many states are brought to an end"


def test_a_process_that_dies_again_and_again_has_failed() -> None:
    assert explore(World(), beginning(builds=1, faults=4, cancels=0)).ends > 10


MISSING: dict[Rule, str] = {
    decisions.a_build_that_nobody_wants_does_not_begin: "never over",
    decisions.the_word_of_a_run_counts: "killed|never over|built twice",
    decisions.a_run_that_died_has_failed: "never over|built twice",
    decisions.a_run_that_never_began_is_launched_again: "never over",
}


def test_each_rule_is_left_out_once() -> None:
    assert {*MISSING, decisions.a_run_that_nobody_wants_is_stopped} == {*RULES}, "its test is below"


@pytest.mark.parametrize("rule", MISSING, ids=lambda rule: rule.__name__)
def test_a_rule_that_is_missing_is_found_out(rule: Rule) -> None:
    with pytest.raises(Broken, match=MISSING[rule]):
        explore(World(rules=[each for each in RULES if each is not rule]), beginning())


def test_a_service_that_launches_before_it_notes_builds_twice() -> None:
    with pytest.raises(Broken, match=r"second process|built twice|never over|more runs"):
        explore(World(intends=False), beginning())


def test_a_service_that_does_not_see_living_runs_is_found_out() -> None:
    with pytest.raises(Broken, match=r"run lives|second process|built twice"):
        explore(World(keeps_lock=False), beginning())


RUNNING = Observed(number=1, accounts=(7,), running=True, alive=True, planned=True)


def test_a_run_that_nobody_wants_is_asked_to_stop_and_a_second_time_when_it_takes_too_long() -> None:
    room = Room(places=2, of_account=2)
    unwanted = replace(RUNNING, cancelled=True)
    assert decide([unwanted], room) == [Stop(number=1)]
    assert decide([replace(unwanted, stopping=1.0)], room) == []
    assert decide([replace(unwanted, stopping=decisions.PATIENCE + 1)], room) == [Stop(number=1)]


def test_builds_begin_in_order_and_no_account_takes_all_places() -> None:
    waiting = [Observed(number=n, accounts=(account,)) for n, account in ((2, 7), (3, 7), (4, 8))]
    room = Room(places=3, of_account=1)
    assert decide([RUNNING, *waiting], room) == [Launch(number=4)]
    assert decide([RUNNING, *waiting], replace(room, exceptions={7: 2})) == [Launch(number=2), Launch(number=4)]
    joined = replace(waiting[0], accounts=(7, 9))
    assert decide([RUNNING, joined], room) == [Launch(number=2)], "somebody else wants it, too"
