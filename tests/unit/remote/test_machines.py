"""Decisions about machines for builds: everything that can happen to them, in every order."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from cc_images.remote import machines
from cc_images.remote.machine_steps import (
    Create,
    Destroy,
    Fail,
    Forget,
    Machine,
    Note,
    Observed,
    Policy,
    Record,
    State,
    Use,
    Wait,
    Want,
)
from cc_images.remote.machines import RULES, Rule, decide
from tests.conftest import sampled
from tests.support.exploring import Broken, explore, wander
from tests.support.machine_model import POLICY, World, beginning

WARM = replace(POLICY, reserve=1, maximum=2)
SHORT = replace(POLICY, ttl=4)

SHALLOW: dict[str, tuple[Policy, dict[str, Any]]] = {
    "one who waits": (POLICY, {}),
    "one who waits, and a fault": (POLICY, {"faults": 1}),
    "two who wait for one machine": (POLICY, {"wants": 2}),
    "two who wait for two": (replace(POLICY, maximum=2), {"wants": 2, "faults": 1}),
    "one who waits, a sweep, and a fault": (POLICY, {"sweeps": 1, "faults": 1}),
    "a node, and two faults": (POLICY, {"nodes": True, "faults": 2}),
    "a warm reserve, and a death": (WARM, {"deaths": 1, "sweeps": 1}),
    "machines that expire, and another head": (SHORT, {"others": 1, "faults": 1}),
}


@pytest.mark.parametrize("name", sampled(SHALLOW, 2))
def test_the_rules_hold_in_every_order_of_events(name: str) -> None:
    policy, budget = SHALLOW[name]
    assert explore(World(policy=policy), beginning(**budget), limit=1000).ends > 50, "many states are brought to an end"


def wandered(seed: int) -> int:
    """Go the long way of a seed; return how many moves it had."""
    chance = random.Random(seed)
    policy = chance.choice([POLICY, WARM, SHORT, replace(WARM, ttl=5)])
    budget = {
        name: chance.randrange(most) for name, most in (("faults", 6), ("deaths", 3), ("sweeps", 2), ("others", 2))
    }
    start = beginning(wants=chance.randrange(1, 4), nodes=chance.random() < 0.3, **budget)
    try:
        return wander(World(policy=policy), start, chance, most=chance.randrange(20, 120))
    except Broken as broken:
        raise Broken(f"seed {seed}: {broken}") from None


def test_the_rules_hold_on_long_random_ways() -> None:
    assert sum(wandered(seed) for seed in range(20)) > 300


MISSING: dict[Rule, tuple[Policy, dict[str, Any], str]] = {
    machines.a_machine_that_came_is_noted: (POLICY, {"faults": 1}, "never in order"),
    machines.a_machine_is_used: (POLICY, {}, "never in order"),
    machines.a_want_is_given_up: (POLICY, {}, "waits on after 2 failures"),
    machines.expired_machines_are_destroyed: (WARM, {}, "left for ever"),
    machines.machines_without_a_record_are_destroyed: (POLICY, {"faults": 1}, "never in order"),
    machines.broken_machines_are_destroyed: (POLICY, {"faults": 1}, "never in order"),
    machines.a_machine_is_used_once: (POLICY, {}, "never in order"),
    machines.machines_too_old_for_a_job_are_destroyed: (SHORT, {}, "too little time left"),
    machines.doomed_machines_are_destroyed: (POLICY, {"faults": 1}, "never in order"),
    machines.surplus_machines_are_destroyed: (POLICY, {}, "never in order"),
    machines.records_without_a_machine_are_forgotten: (POLICY, {}, "never in order"),
    machines.a_machine_is_made: (POLICY, {}, "never in order"),
}


def test_each_rule_is_left_out_once() -> None:
    assert set(MISSING) == set(RULES)


@pytest.mark.parametrize("rule", MISSING, ids=lambda rule: rule.__name__)
def test_a_rule_that_is_missing_is_found_out(rule: Rule) -> None:
    policy, budget, said = MISSING[rule]
    world = World(policy=policy, rules=[each for each in RULES if each is not rule])
    with pytest.raises(Broken, match=said) as caught:
        explore(world, beginning(**budget), limit=3000)
    assert "there is:\n" in str(caught.value)


BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "records are read before the cloud is": ({"cloud_first": False}, {"wants": 2}, "2 machines, and 1 may be"),
    "a record is written after the request": ({"writes_first": False}, {"faults": 1}, "2 machines, and 1 may be"),
    "the cloud is asked to destroy first": ({"dooms_first": False}, {"sweeps": 1}, "destroyed under a job"),
    "machines are known by their names": ({"by_tags": False}, {}, "somebody else's"),
    "what a list lacks is gone": ({"asks_by_id": False}, {"wants": 2}, "destroyed under a job"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_promise_that_is_broken_is_found_out(name: str) -> None:
    how, budget, said = BROKEN[name]
    with pytest.raises(Broken, match=said):
        explore(World(**how), beginning(**budget), limit=6000)


# -- single decisions -------------------------------------------------------------------------------------------------


def machine(number: int = 1, **more: Any) -> Machine:
    """Return a machine of this head."""
    usual: dict[str, Any] = {"id": f"id{number}", "name": f"m{number}", "head": "h", "cluster": "c"}
    usual |= {"state": State.ACTIVE, "address": "10.0.0.1", "created": number, "expires": 50_000.0}
    return Machine(**usual | more)


def record(number: int = 1, **more: Any) -> Record:
    """Return the record of a machine."""
    usual: dict[str, Any] = {"name": f"m{number}", "made": 0.0, "id": f"id{number}"}
    return Record(**usual | more)


def seen(now: float = 10, **more: Any) -> Observed:
    """Return what a head sees."""
    return Observed(head="h", cluster="c", now=now, **more)


def test_a_warm_machine_is_used_at_once_and_the_reserve_is_filled_again() -> None:
    warm = Policy(reserve=1, maximum=3)
    before = seen(machines=(machine(),), records=(record(),), wants=(Want(id="w"),), policy=warm)
    assert decide(before) == Use(name="m1", want="w")
    after = replace(before, records=(record(want="w"),), wants=(Want(id="w", served="m1"),))
    assert decide(after) == Create()


def test_who_waits_longest_is_first_and_the_queue_waits_at_the_maximum() -> None:
    wants = (Want(id="first"), Want(id="second"), Want(id="third"))
    assert decide(seen(wants=wants)) == Create(run="first")
    building = seen(wants=wants, records=(record(),), machines=(machine(state=State.BUILD),))
    assert decide(building) == Wait(until=15)
    assert decide(replace(building, machines=(machine(),))) == Use(name="m1", want="first")


def test_what_was_created_though_the_answer_was_an_error_is_noted_or_destroyed() -> None:
    lost = seen(machines=(machine(),), records=(record(id=""),), wants=(Want(id="w"),))
    assert decide(lost) == Note(name="m1", id="id1")
    step = decide(replace(lost, records=(record(2),)))
    assert step == Destroy(id="id1", why="nobody waits for it")


def test_machines_of_others_are_left_alone_until_they_expire() -> None:
    policy = Policy(skew=300)
    for each in (machine(head="other"), machine(cluster="other"), machine(head="", cluster="", expires=None)):
        assert isinstance(decide(seen(machines=(each,), policy=policy)), Wait)
        assert isinstance(decide(seen(machines=(each,), policy=policy, now=50_299)), Wait)
    foreign = decide(seen(machines=(machine(head="other"),), now=50_300, policy=policy))
    assert foreign == Destroy(id="id1", why="its time is over")


def test_a_machine_is_destroyed_after_its_job_and_when_who_waited_is_gone() -> None:
    used = seen(machines=(machine(),), records=(record(want="dead"),))
    assert decide(used) == Destroy(id="id1", name="m1", why="its job is over")
    surplus = seen(machines=(machine(state=State.BUILD),), records=(record(),))
    assert decide(surplus) == Destroy(id="id1", name="m1", why="nobody waits for it any more")


def test_errors_and_builds_without_end_count_as_failures() -> None:
    failed = machine(state=State.ERROR, fault="No valid host was found.")
    wants = (Want(id="w"),)
    step = decide(seen(machines=(failed,), records=(record(),), wants=wants))
    why = "the cloud could not start it: No valid host was found."
    assert step == Destroy(id="id1", name="m1", why=why, trouble=True)
    late = seen(now=900, machines=(machine(state=State.BUILD),), records=(record(),), wants=wants)
    assert decide(late) == Destroy(id="id1", name="m1", why="it is not ready after 900 s", trouble=True)
    assert isinstance(decide(replace(late, now=899)), Wait)


def test_no_other_machine_is_made_for_a_while_after_one_failed() -> None:
    failed = seen(records=(record(trouble=True, doomed="quota", id=""),), wants=(Want(id="w"),), me="w")
    assert isinstance(decide(failed), Wait)
    assert decide(replace(failed, now=60)) == Forget(name="m1")
    assert decide(replace(failed, failures=["quota", "quota", "host"])) == Fail(why="quota; host")


def test_a_machine_that_people_deleted_is_forgotten_when_the_cloud_says_so_by_id() -> None:
    gone = seen(now=10**4, records=(record(),), wants=(Want(id="w"),))
    assert isinstance(decide(gone), Wait), "a list may lack it"
    assert decide(replace(gone, records=(record(gone=True),))) == Forget(name="m1")


def test_who_lost_a_machine_gets_no_second_one() -> None:
    assert isinstance(decide(seen(wants=(Want(id="w", served="m1"),))), Wait)


def test_a_destruction_is_asked_for_again_when_it_is_not_done() -> None:
    doomed = seen(machines=(machine(state=State.LEAVING, tried=0.0),), records=(record(doomed="its job is over"),))
    assert isinstance(decide(doomed), Wait)
    assert decide(replace(doomed, now=60)) == Destroy(id="id1", name="m1", why="its job is over")


def test_a_node_gets_the_machine_that_was_made_for_it_alone() -> None:
    node = Want(id="node1", node=True)
    assert decide(seen(wants=(node,))) == Create(node="node1", run="node1")
    others = seen(machines=(machine(), machine(2)), records=(record(want="node2"), record(2, want="node1")))
    assert decide(replace(others, wants=(Want(id="node2", node=True, served="m1"), node))) == Use(
        name="m2", want="node1"
    )
