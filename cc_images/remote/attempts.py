"""The next step with one chain on builder hosts, given what the head observed: pure decisions.

The run that decides holds the chain's image lock from its first look to its last act, so no two runs of a store decide
about one chain at a time. Attempts of other runs that it sees belong to dead runs. A step is done once, whether its
answer comes or not; then the head looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cc_images.errors import Reason
from cc_images.model.attempt import JobState
from cc_images.remote.attempt_steps import (
    Accept,
    AskToStop,
    Cancel,
    Done,
    Fail,
    Fence,
    LaunchAgain,
    Refuse,
    Start,
    Step,
    Wait,
)
from cc_images.remote.observed import PROOFS, Attempt, Observed, Policy, Proof, is_over

Rule = Callable[[Observed, Sequence[Proof]], Step | None]


def a_result_that_counts_is_taken(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """Take the result of an open attempt of this run, once."""
    if any(each.accepted for each in observed.own):
        return None
    good = [each for each in observed.open if each.has_result and not each.wrong]
    return Accept(attempt=good[0].id) if good else None


def a_wrong_result_is_refused(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """Close an attempt whose result does not count."""
    wrong = [each for each in observed.open if each.has_result and each.wrong]
    return Refuse(attempt=wrong[0].id, why=wrong[0].wrong) if wrong else None


def a_token_ends_with_its_result(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """Close an attempt whose result was taken."""
    taken = [each for each in observed.open if each.accepted]
    return Fence(attempt=taken[0].id, why="its result was taken") if taken else None


def attempts_of_dead_runs_are_fenced(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """Close attempts of other runs.

    None is adopted: its version and plan are a dead run's, and only that run had its token. The blobs that it has
    brought are in the store, so they do not travel again.
    """
    for each in observed.attempts:
        if each.claim.run != observed.run and not each.fenced:
            return Fence(attempt=each.id, why="its run is dead")
    return None


def a_lost_attempt_is_fenced(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """Close an open attempt from which no result can come any more."""
    for each in observed.open:
        if why := _why_lost(each, observed):
            return Fence(attempt=each.id, why=why)
    return None


def a_run_that_stops_asks_first(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """Let a builder end by itself, and close its attempt when it does not."""
    for each in observed.open if observed.stops else ():
        if each.granted is None:
            return Fence(attempt=each.id, why="the run was asked to stop")
        if each.stop_asked is None:
            return AskToStop(attempt=each.id)
        until = each.stop_asked + observed.policy.stop_within
        if observed.now >= until:
            return Fence(attempt=each.id, why="it did not stop when it was asked to")
        return _wait(observed, until)
    return None


def a_forgotten_job_is_launched_again(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """Start a job again that nobody knows of and that has had no lease."""
    for each in observed.open:
        if _has_not_begun(each, observed) and _may_be_launched(each, observed.policy):
            return LaunchAgain(attempt=each.id)
    return None


def jobs_of_fenced_attempts_are_cancelled(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """Cancel the job of a fenced attempt: until that succeeds, or once when the attempt is over anyway."""
    for each in observed.attempts:
        if not each.fenced or each.cancelled or each.job is JobState.ENDED:
            continue
        if (each.accepted or each.destroyed) and each.job is not JobState.WAITING:
            continue  # it ends by itself; one that waits is a second job of its name
        again = each.cancel_tried is None or _cancels_again(each, observed, proofs)
        if again and not (each.cancel_tried is not None and observed.stops):
            return Cancel(attempt=each.id)
    return None


def a_taken_result_is_the_end(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """End well: the guard clears up what is left at the builder."""
    taken = [each for each in observed.own if each.accepted]
    return Done(attempt=taken[0].id) if taken else None


def a_run_that_stops_ends(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """End when nothing is open. The next run waits until it is over."""
    if not observed.stops:
        return None
    left = [each for each in observed.own if not is_over(each, observed.now, observed.policy, proofs)]
    said = "".join(f"; its work on {each.claim.builder} ends with its lease" for each in left)
    return Fail(why=f"the run was asked to stop{said}", reason=Reason.INTERRUPTED)


def nothing_begins_before_the_old_is_over(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """Wait until no process of any attempt is left, be it open or fenced."""
    for each in observed.attempts:
        if not is_over(each, observed.now, observed.policy, proofs):
            return _wait(observed, _due(each, observed.policy))
    return None


def a_refused_result_is_no_loss(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """End when a builder brought a result that does not count: another try is for people to decide."""
    for each in observed.own:
        if each.refused:
            why = f"the result from {each.claim.builder} does not count: {each.fenced}"
            return Fail(why=why, reason=Reason.REFUSED)
    return None


def losses_have_a_limit(observed: Observed, proofs: Sequence[Proof]) -> Step | None:
    """End when as many attempts were lost as may be."""
    lost = observed.own
    if len(lost) <= observed.policy.retry_lost:
        return None
    whys = "; ".join(f"{each.claim.builder}: {each.fenced}" for each in lost)
    times = "" if len(lost) == 1 else f" after {len(lost)} attempts"
    return Fail(why=f"there is no result of {', '.join(lost[-1].claim.tasks)}{times} ({whys})", reason=Reason.LOST)


RULES: tuple[Rule, ...] = (
    a_result_that_counts_is_taken,
    a_wrong_result_is_refused,
    a_token_ends_with_its_result,
    attempts_of_dead_runs_are_fenced,
    a_lost_attempt_is_fenced,
    a_run_that_stops_asks_first,
    a_forgotten_job_is_launched_again,
    jobs_of_fenced_attempts_are_cancelled,
    a_taken_result_is_the_end,
    a_run_that_stops_ends,
    nothing_begins_before_the_old_is_over,
    a_refused_result_is_no_loss,
    losses_have_a_limit,
)


def decide(observed: Observed, rules: Sequence[Rule] = RULES, proofs: Sequence[Proof] = PROOFS) -> Step:
    """Return the next step with a chain."""
    for rule in rules:
        if (step := rule(observed, proofs)) is not None:
            return step
    lost = observed.own
    return Start(before=lost[-1].id if lost else "", avoid=tuple(dict.fromkeys(each.claim.builder for each in lost)))


def _wait(observed: Observed, until: float) -> Wait:
    """Wait, at most until the next look is due, and no time that is past."""
    soon = observed.now + observed.policy.look_every
    return Wait(until=until if observed.now < until < soon else soon)


def _due(attempt: Attempt, policy: Policy) -> float:
    """Return when a look at an attempt tells something new, though nothing is heard of it."""
    if attempt.granted is not None:
        return attempt.lease_ends + (policy.grace if attempt.fenced else 0)
    return float("inf") if attempt.job is JobState.WAITING else attempt.changed + policy.start_within


def _why_lost(attempt: Attempt, observed: Observed) -> str:
    """Return why no result can come from an open attempt; empty while one can."""
    if attempt.destroyed:
        return "its machine is gone"
    if attempt.lost:
        return attempt.lost
    if attempt.over is not None:
        return f"it ended without a result (code {attempt.over})"
    if attempt.granted is not None:
        return "its lease ran out: the builder host was not heard of" if observed.now >= attempt.lease_ends else ""
    if attempt.job is JobState.ENDED:
        return "its job ended before it asked for work (no cc-images there, or no way to the head)"
    if not _has_not_begun(attempt, observed) or _may_be_launched(attempt, observed.policy):
        return ""
    if attempt.job is JobState.RUNNING:
        return "its job runs, and does not reach this host"
    return "nobody knows of its job"


def _has_not_begun(attempt: Attempt, observed: Observed) -> bool:
    """Say whether an attempt has had no lease in the time in which it should; a queue may take any time."""
    late = observed.now >= attempt.changed + observed.policy.start_within
    return attempt.granted is None and attempt.job is not JobState.WAITING and late


def _may_be_launched(attempt: Attempt, policy: Policy) -> bool:
    return attempt.job is JobState.UNKNOWN and attempt.launches < policy.launches


def _cancels_again(attempt: Attempt, observed: Observed, proofs: Sequence[Proof]) -> bool:
    """Say whether a cancellation that failed is due again."""
    over = is_over(attempt, observed.now, observed.policy, proofs)
    tried = attempt.cancel_tried
    return not over and tried is not None and observed.now >= tried + observed.policy.cancel_every
