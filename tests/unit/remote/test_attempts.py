"""Decisions about builds on other hosts: everything that can happen to one chain, in every order.

`tests/real/test_attempts_deep.py` goes deeper.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cc_images.errors import Reason
from cc_images.model.attempt import Claim, JobState
from cc_images.remote import attempts, observed
from cc_images.remote.attempt_steps import Accept, Cancel, Fail, Fence, LaunchAgain, Start, Wait
from cc_images.remote.attempts import RULES, Rule, decide
from cc_images.remote.observed import PROOFS, Attempt, Observed, Policy, Proof, is_over
from tests.support.attempt_model import LIES, POLICY, World, beginning
from tests.support.exploring import Broken, explore, wander

Budget = dict[str, int]

SHALLOW: dict[str, tuple[dict[str, Any], Budget]] = {
    "late builders": ({}, {"faults": 0}),
    "late builders, and no way to cancel": ({"cancels": False}, {"faults": 0}),
    "a run that is asked to stop": ({}, {"faults": 0, "stop": 1}),
}


@pytest.mark.parametrize("name", SHALLOW)
def test_the_rules_hold_in_every_order_of_events(name: str) -> None:
    how, budget = SHALLOW[name]
    assert explore(World(**how), beginning(**budget)).ends > 200, "many states are brought to an end"


def test_the_rules_hold_after_a_fault_and_a_kill_as_far_as_a_second_allows() -> None:
    explore(World(), beginning(faults=1, runs=1, stop=1), limit=1500)


def wandered(seed: int) -> int:
    """Go the long way of a seed; return how many moves it had."""
    chance = random.Random(seed)
    start = beginning(faults=chance.randrange(12), runs=chance.randrange(4), stop=chance.randrange(3))
    try:
        return wander(World(), start, chance, most=chance.randrange(20, 120))
    except Broken as broken:
        raise Broken(f"seed {seed}: {broken}") from None


def test_the_rules_hold_on_long_random_ways() -> None:
    assert sum(wandered(seed) for seed in range(100)) > 1000


def without(rule: Rule) -> World:
    """Return a world whose runs leave a rule out."""
    return World(rules=[each for each in RULES if each is not rule])


MISSING: dict[Rule, tuple[Budget, str]] = {
    attempts.a_result_that_counts_is_taken: ({"faults": 0}, "the run ends with"),
    attempts.a_wrong_result_is_refused: ({"faults": 1}, "the run ends with"),
    attempts.a_token_ends_with_its_result: ({"faults": 1}, "a token is valid"),
    attempts.attempts_of_dead_runs_are_fenced: ({"faults": 0, "runs": 1}, "never ends"),
    attempts.a_lost_attempt_is_fenced: ({"faults": 0}, "never ends"),
    attempts.a_run_that_stops_asks_first: ({"faults": 0, "stop": 1}, "never ends|a token is valid"),
    attempts.a_forgotten_job_is_launched_again: ({"faults": 1}, "never ends"),
    attempts.jobs_of_fenced_attempts_are_cancelled: ({"faults": 0, "stop": 1}, "waits in the queue"),
    attempts.a_taken_result_is_the_end: ({"faults": 0}, "though there is a result"),
    attempts.a_run_that_stops_ends: ({"faults": 0, "stop": 1}, "is to stop starts an attempt"),
    attempts.nothing_begins_before_the_old_is_over: ({"faults": 0}, "a token is valid"),
    attempts.a_refused_result_is_no_loss: ({"faults": 1}, "the run ends with"),
    attempts.losses_have_a_limit: ({"faults": 0}, "makes 3 attempts"),
}


def test_each_rule_is_left_out_once() -> None:
    assert set(MISSING) == set(RULES)


@pytest.mark.parametrize("rule", MISSING, ids=lambda rule: rule.__name__)
def test_a_rule_that_is_missing_is_found_out(rule: Rule) -> None:
    budget, said = MISSING[rule]
    with pytest.raises(Broken, match=said) as caught:
        explore(without(rule), beginning(**budget))
    assert "after these calls:\n" in str(caught.value)


def its_scheduler_says_so(attempt: Attempt, now: float, policy: Policy) -> bool:
    """Take the end of a job for the end of its processes."""
    return attempt.job is JobState.ENDED


def it_was_cancelled(attempt: Attempt, now: float, policy: Policy) -> bool:
    """Take a cancelled job for the end of its processes."""
    return attempt.cancelled


def nobody_knows_of_its_job(attempt: Attempt, now: float, policy: Policy) -> bool:
    """Take a job that the scheduler has forgotten for one that does not run."""
    return attempt.job is JobState.UNKNOWN


def it_is_fenced(attempt: Attempt, now: float, policy: Policy) -> bool:
    """Take a fence for the end of what is behind it."""
    return True


def without_proof(proof: Proof) -> list[Proof]:
    """Return the proofs but one."""
    return [each for each in PROOFS if each is not proof]


TWO = "alive at the same time"

BROKEN: dict[str, tuple[dict[str, Any], Budget, str]] = {
    "a scheduler's word is a proof": ({"proofs": (*PROOFS, its_scheduler_says_so)}, {"faults": 2}, TWO),
    "a cancellation is a proof": ({"proofs": (*PROOFS, it_was_cancelled)}, {"faults": 2}, TWO),
    "a fence is a proof": ({"proofs": (it_is_fenced,), "cancels": False}, {"faults": 0}, TWO),
    "a forgotten job is a proof": ({"proofs": (*PROOFS, nobody_knows_of_its_job)}, {"faults": 1}, TWO),
    "a lease never ends": ({"proofs": without_proof(observed.its_lease_ran_out)}, {"faults": 1}, "never ends"),
    "what never began is never over": ({"proofs": without_proof(observed.it_never_started)}, {"faults": 0}, "never en"),
    "a head without grace": ({"policy": replace(POLICY, grace=0), "cancels": False}, {"faults": 0}, TWO),
    "two executions of an attempt": ({"binds": False}, {"faults": 1}, TWO),
    "the last line of another execution": ({"hears_the_bound_one": False}, {"faults": 1}, TWO),
    "leases for fenced attempts": ({"closes": False, "cancels": False}, {"faults": 0}, TWO),
    "a grant that crosses a fence": ({"looks_twice": False, "cancels": False}, {"faults": 1}, TWO),
    "leases for dead runs": ({"knows_dead_runs": False}, {"faults": 0, "runs": 1}, "outlives its run"),
    "leases from when the answer comes": ({"counts_from_before": False, "cancels": False}, {"faults": 1}, TWO),
    "no guard": ({"guarded": False, "cancels": False}, {"faults": 0}, f"outlives|{TWO}"),
    "the result of another attempt": ({"checks": LIES[1:]}, {"faults": 1}, "a lie is accepted: other attempt"),
    "the result with another digest": ({"checks": LIES[:1]}, {"faults": 1}, "a lie is accepted: other digest"),
    "jobs by number": ({"by_name": False}, {"faults": 1}, "somebody else's job is cancelled"),
}


LONG = (
    "leases from when the answer comes",
    "a grant that crosses a fence",
    "a forgotten job is a proof",
    "the last line of another execution",
)
"""Those that take seconds: `tests/real/test_attempts_deep.py` has them."""


def found_out(name: str) -> None:
    """Check that it is found out that a promise is broken."""
    how, budget, said = BROKEN[name]
    with pytest.raises(Broken, match=said):
        explore(World(**how), beginning(**budget))


@pytest.mark.parametrize("name", [each for each in BROKEN if each not in LONG])
def test_a_promise_that_is_broken_is_found_out(name: str) -> None:
    found_out(name)


# -- single decisions -------------------------------------------------------------------------------------------------


def attempt(number: int = 1, run: str = "mine", **more: Any) -> Attempt:
    """Return an attempt on a builder host of its own."""
    claim = Claim(attempt=f"a{number}", run=run, tasks=("build x", "convert x"), builder=f"b{number}", made=0)
    usual: dict[str, Any] = {"claim": claim, "job": JobState.RUNNING, "seconds": 60}
    return Attempt(**usual | more)


def seen(now: float, *seen: Attempt, **more: Any) -> Observed:
    """Return what a run sees."""
    return Observed(run="mine", now=now, attempts=seen, **more)


def steps(now: float, cases: Sequence[tuple[Attempt, object]]) -> None:
    """Check the step with each of some attempts."""
    for each, step in cases:
        assert decide(seen(now, each)) == step


def test_the_first_attempt_follows_none() -> None:
    assert decide(seen(0)) == Start()


def test_a_guards_last_line_or_a_machine_that_is_gone_save_the_time_of_the_lease() -> None:
    lost = attempt(granted=100, fenced="lost", cancelled=True)
    assert not is_over(lost, 110, Policy())
    assert decide(seen(110, lost)) == Wait(until=125)
    known: list[dict[str, Any]] = [{"over": 1}, {"destroyed": True}]
    for more in known:
        assert decide(seen(110, replace(lost, **more))) == Start(before="a1", avoid=("b1",))
    assert not is_over(lost, 189, Policy())
    assert is_over(lost, 190, Policy())


def test_an_attempt_that_is_not_fenced_is_never_over() -> None:
    for each in (attempt(granted=0), attempt(granted=0, over=0), attempt(destroyed=True), attempt()):
        assert not is_over(each, 9999, Policy())


def test_a_job_in_the_queue_may_wait_for_days() -> None:
    assert decide(seen(10**6, attempt(job=JobState.WAITING))) == Wait(until=10**6 + 15)


def test_a_job_that_ended_may_still_be_at_work() -> None:
    """Its daemon was killed, or the scheduler lost sight of it: as long as it renews its lease, it works."""
    assert isinstance(decide(seen(110, attempt(job=JobState.ENDED, granted=100))), Wait)


def test_the_result_comes_before_what_else_is_known() -> None:
    done = attempt(granted=0, has_result=True, over=0, destroyed=True, job=JobState.ENDED)
    assert decide(seen(9999, done, stops=True)) == Accept(attempt="a1")


def test_a_late_result_is_never_accepted() -> None:
    for each in (attempt(fenced="lost", has_result=True, granted=0), attempt(run="dead", has_result=True, granted=0)):
        assert not isinstance(decide(seen(10, each)), Accept)


def test_why_an_attempt_is_lost() -> None:
    steps(
        400,
        [
            (attempt(granted=300), Fence(attempt="a1", why="its lease ran out: the builder host was not heard of")),
            (attempt(granted=390, over=2), Fence(attempt="a1", why="it ended without a result (code 2)")),
            (attempt(destroyed=True), Fence(attempt="a1", why="its machine is gone")),
            (
                attempt(job=JobState.ENDED),
                Fence(
                    attempt="a1",
                    why="its job ended before it asked for work (no cc-images there, or no way to the head)",
                ),
            ),
            (attempt(), Fence(attempt="a1", why="its job runs, and does not reach this host")),
            (attempt(job=JobState.UNKNOWN, launches=2), Fence(attempt="a1", why="nobody knows of its job")),
            (attempt(job=JobState.UNKNOWN), LaunchAgain(attempt="a1")),
            (attempt(run="dead"), Fence(attempt="a1", why="its run is dead")),
        ],
    )


def test_a_cancellation_that_failed_is_tried_again() -> None:
    lost = attempt(granted=100, fenced="lost", cancel_tried=110)
    steps(120, [(replace(lost, cancel_tried=None), Cancel(attempt="a1")), (lost, Wait(until=135))])
    steps(125, [(lost, Cancel(attempt="a1"))])


def test_a_second_job_of_a_machine_that_is_gone_leaves_the_queue() -> None:
    """It was started again while the answer for the first one was missing."""
    lost = attempt(granted=100, fenced="its machine is gone", destroyed=True)
    steps(110, [(replace(lost, job=JobState.WAITING), Cancel(attempt="a1")), (lost, Start(before="a1", avoid=("b1",)))])


def test_a_failure_says_what_is_missing_and_why() -> None:
    first, second = (attempt(each, fenced=f"lost {each}", cancelled=True) for each in (1, 2))
    assert decide(seen(0, first, second)) == Fail(
        why="there is no result of build x, convert x after 2 attempts (b1: lost 1; b2: lost 2)", reason=Reason.LOST
    )
    refused = attempt(fenced="it is another attempt's", refused=True, cancelled=True)
    assert decide(seen(0, refused)) == Fail(
        why="the result from b1 does not count: it is another attempt's", reason=Reason.REFUSED
    )


def test_losses_of_dead_runs_do_not_count() -> None:
    dead = [attempt(each, run="dead", fenced="its run is dead", cancelled=True) for each in (1, 2, 3)]
    assert decide(seen(0, *dead)) == Start()


def test_a_run_that_stops_says_what_goes_on() -> None:
    left = attempt(granted=90, fenced="it did not stop when it was asked to", cancel_tried=99)
    step = decide(seen(100, left, stops=True))
    assert step == Fail(why="the run was asked to stop; its work on b1 ends with its lease", reason=Reason.INTERRUPTED)
