"""One chain's attempts as the head observes them, and the proofs that one of them is over. Pure.

Proofs rest on promises of the hub and of the builder host:

- *One execution.* A builder's process makes up a nonce when it starts, and sends it with each call. Its first call is
  for a lease, also when it only has to say why it cannot work. `AttemptFiles.grant` stores the nonce of the first
  lease, exclusively; each call with another nonce gets 410, and so does any other call before the first lease. A
  second execution of an attempt (the answer of sbatch was lost, a job was requeued) ends without having worked, and
  its last line is not taken for that of the first. Its scratch folder is its own: named by attempt and nonce.
- *Grants and fences.* `grant` looks for a fence, writes the lease, and looks for a fence again before it answers. The
  first look keeps a closed attempt from getting younger, the second one gives no lease that the head has not seen: the
  head looks for the fence before it reads the lease.
- *Dead runs.* `grant` answers 410 when the run of the claim is dead, also when the hub is a process of its own.
- *The guard* counts from before the request was sent, by a clock that goes on while the machine sleeps
  (CLOCK_BOOTTIME), kills the tree within `Policy.grace`, and does not work again whatever answers come later.
- *Order.* A builder puts its result before its last line. The head asks the launcher first, and then reads fence,
  lease, stream and result, in this order.

An attempt's folder stays until `is_over`: a later run needs it to know that nothing runs any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cc_images.model.attempt import Claim, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a run does about losses; times are in seconds."""

    retry_lost: int = 1
    """New attempts after lost ones, for each chain of a run."""
    launches: int = 2
    """How often the job of one attempt is started at most."""
    grace: float = 30.0
    """After a lease, the time in which the guard has killed the tree, with the difference of two clocks."""
    start_within: float = 300.0
    """The time from a job's start, or from the last word of a scheduler, to the first lease."""
    stop_within: float = 45.0
    """The time that a builder has to end by itself. Its next lease says so."""
    cancel_every: float = 15.0
    look_every: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of the chain as it was observed. Times are in seconds by one clock of the head.

    A time that was written before the host started again is taken for that of the first look since then.
    """

    claim: Claim
    launches: int = 1
    """How often its job was started, also when the launcher raised an error."""
    changed: float = 0.0
    """When the job was started last, or when the launcher's word for it changed since."""
    job: JobState = JobState.UNKNOWN
    granted: float | None = None
    """When the last lease was granted; None: it has never had one."""
    seconds: float = 0.0
    """The length of that lease."""
    stop_asked: float | None = None
    """When it was asked to end."""
    fenced: str = ""
    """Why its token opens nothing any more."""
    refused: bool = False
    """Whether that is so because of its result."""
    cancelled: bool = False
    """Whether the launcher has cancelled its job since it was fenced."""
    cancel_tried: float | None = None
    """When that was tried last."""
    has_result: bool = False
    wrong: str = ""
    """Why its result does not count: other attempt, other tasks, a digest that the store lacks."""
    lost: str = ""
    """What the guard says instead of a result."""
    accepted: bool = False
    over: int | None = None
    """The code of the guard's last line in the stream, from the execution that has the lease."""
    destroyed: bool = False
    """Whether the provider of its machine says that the machine is gone."""

    @property
    def id(self) -> str:
        """The attempt's id."""
        return self.claim.attempt

    @property
    def lease_ends(self) -> float:
        """When its last lease ends by the head's clock; the builder's own ends earlier."""
        assert self.granted is not None
        return self.granted + self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All attempts of a chain that the store has, the oldest first, and the run that decides."""

    run: str
    now: float
    attempts: tuple[Attempt, ...] = ()
    stops: bool = False
    """Whether the run is to end as soon as it can."""
    policy: Policy = Policy()

    @property
    def own(self) -> list[Attempt]:
        """The attempts of this run."""
        return [each for each in self.attempts if each.claim.run == self.run]

    @property
    def open(self) -> list[Attempt]:
        """The attempts of this run that may still bring a result."""
        return [each for each in self.own if not each.fenced]


Proof = Callable[[Attempt, float, Policy], bool]


def it_never_started(attempt: Attempt, now: float, policy: Policy) -> bool:
    """Say whether nothing was ever granted: nothing will be, for it is fenced."""
    return attempt.granted is None


def its_guard_said_so(attempt: Attempt, now: float, policy: Policy) -> bool:
    """Say whether the guard of the execution that has the lease has seen the end of the tree."""
    return attempt.granted is not None and attempt.over is not None


def its_machine_is_gone(attempt: Attempt, now: float, policy: Policy) -> bool:
    """Say whether the provider has destroyed the machine."""
    return attempt.destroyed


def its_lease_ran_out(attempt: Attempt, now: float, policy: Policy) -> bool:
    """Say whether the guard has killed the tree, whether anybody heard of it or not."""
    return attempt.granted is not None and now >= attempt.lease_ends + policy.grace


PROOFS: tuple[Proof, ...] = (it_never_started, its_guard_said_so, its_machine_is_gone, its_lease_ran_out)


def is_over(attempt: Attempt, now: float, policy: Policy, proofs: Sequence[Proof] = PROOFS) -> bool:
    """Say whether it is certain that no process of an attempt is left, and that none will be.

    The word of a scheduler is no proof: a killed daemon leaves the processes of a job that ended.
    """
    return bool(attempt.fenced) and any(proof(attempt, now, policy) for proof in proofs)
