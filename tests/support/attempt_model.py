"""One chain on builder hosts: runs of a head that die, a scheduler that forgets, messages that get lost, come late or
twice, clocks apart, guards, and builders that lie.

Decisions are those of `remote.attempts`. Time goes in ticks, and each time is kept as its distance from now, as far as
anybody cares, so that there are finitely many states however long it all takes. `World` has one switch for each promise
that the proofs rest on, so that a test can break it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import NamedTuple, TypeVar, cast

from cc_images.errors import Reason
from cc_images.model.attempt import Claim, JobState
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
from cc_images.remote.attempts import RULES, Rule, decide
from cc_images.remote.observed import PROOFS, Attempt, Observed, Policy, Proof, is_over
from tests.support.exploring import Broken

LEASE = 2
SLACK = 1
"""Ticks by which a builder's clock, and the killing of its tree, may be late; or its clock early."""

POLICY = Policy(retry_lost=1, launches=2, grace=SLACK, start_within=1, stop_within=1, cancel_every=1, look_every=1)

UNKNOWN, WAITING, RUNNING, ENDED = (each.value for each in JobState)
LIES = ("other attempt", "other digest")


T = TypeVar("T")


def replace(value: T, **changes: object) -> T:
    """Return a named tuple with changes. States are such tuples because their hashes are many times as fast."""
    return cast(T, methodcaller("_replace", **changes)(value))


class Kept(NamedTuple):
    """An attempt in the head's store, and what its run knows of the job."""

    run: int
    launches: int = 0
    changed: int = 0
    said: str = UNKNOWN
    granted: int | None = None
    bound: int | None = None
    """The execution whose nonce came with the first lease."""
    stop_asked: int | None = None
    fenced: str = ""
    refused: bool = False
    cancelled: bool = False
    cancel_tried: int | None = None
    result: str = ""
    accepted: bool = False
    over: bool = False
    destroyed: bool = False


class Job(NamedTuple):
    """A job of the scheduler; its name is the attempt's id."""

    attempt: int
    state: str = WAITING
    forgotten: bool = False


class Process(NamedTuple):
    """One execution of an attempt: the builder's daemon, and the tree with its guard. `until`: its lease's end."""

    attempt: int
    job: int
    phase: str = "new"
    """new: nothing runs; works: the tree is alive; done: it has a result to bring; gone."""
    until: int = 0
    daemon: bool = True
    result: str = ""


class Chain(NamedTuple):
    """Everything."""

    faults: int
    runs: int
    """Further runs that may begin, after one was killed or failed."""
    stop: int
    """How often somebody may ask a run to stop."""
    run: int = 1
    alive: bool = True
    stops: bool = False
    pending: Step | None = None
    outcome: Step | None = None
    kept: tuple[Kept, ...] = ()
    jobs: tuple[Job, ...] = ()
    processes: tuple[Process, ...] = ()
    limbo: frozenset[tuple[str, int, int]] = frozenset()
    """Messages that come later: the kind, whose, and when it was sent."""
    link: bool = True

    def attempt(self, number: int, **changes: object) -> Chain:
        kept = replace(self.kept[number], **changes)
        return replace(self, kept=(*self.kept[:number], kept, *self.kept[number + 1 :]))

    def process(self, number: int, **changes: object) -> Chain:
        process = replace(self.processes[number], **changes)
        return replace(self, processes=(*self.processes[:number], process, *self.processes[number + 1 :]))

    def job(self, number: int, **changes: object) -> Chain:
        job = replace(self.jobs[number], **changes)
        return replace(self, jobs=(*self.jobs[:number], job, *self.jobs[number + 1 :]))

    @property
    def faulty(self) -> Chain:
        """The same, with one fault less to come."""
        return replace(self, faults=self.faults - 1)

    def later(self, kind: str, whose: int, sent: int = 0) -> Chain:
        """Return the same after a fault: a message will come late."""
        return replace(self, faults=self.faults - 1, limbo=self.limbo | {(kind, whose, sent)})


Move = tuple[str, Chain]


@dataclass(frozen=True)
class World:
    """The head, its hub, a scheduler and builder hosts."""

    rules: Sequence[Rule] = RULES
    proofs: Sequence[Proof] = PROOFS
    policy: Policy = POLICY
    binds: bool = True
    """Whether the first lease binds an attempt to one execution."""
    hears_the_bound_one: bool = True
    """Whether the last line counts only from that execution."""
    closes: bool = True
    """Whether a fenced attempt gets no lease."""
    looks_twice: bool = True
    """Whether a grant looks for a fence after it was written, too."""
    knows_dead_runs: bool = True
    """Whether there is no lease for attempts of dead runs."""
    counts_from_before: bool = True
    """Whether a builder counts a lease from the moment before it asked."""
    guarded: bool = True
    """Whether a guard kills the tree when the lease runs out."""
    checks: tuple[str, ...] = LIES
    """Lies that the head notices in a result."""
    cancels: bool = True
    """Whether the launcher can cancel jobs. Nothing rests on it, but it hides that another promise is broken."""
    by_name: bool = True
    """Whether jobs are found by their names, and not by numbers that are used again."""
    endings: dict[Chain, Step] = field(default_factory=dict, compare=False)
    """How calm runs end from states that were looked at."""

    # -- everything that can happen next ------------------------------------------------------------------------------

    def moves(self, state: Chain) -> Iterator[Move]:
        """Return everything that can happen next."""
        for label, after in self._moves(state):
            self.check(after)
            yield label, self.plain(after)

    def check(self, state: Chain) -> None:
        """Raise Broken when two executions are alive."""
        alive = [number for number, each in enumerate(state.processes) if each.phase == "works"]
        if len(alive) > 1:
            raise Broken(f"executions {alive} are alive at the same time")

    def _moves(self, state: Chain) -> Iterator[Move]:
        if state.outcome is not None:
            if state.runs and isinstance(state.outcome, Fail):
                yield "a new run begins", _begun(state)
            return
        yield "time goes on", self.ticked(state)
        yield from self._of_runs(state)
        yield from self._of_scheduler(state)
        for number, process in enumerate(state.processes):
            if process.phase != "gone":
                yield from ((f"execution {number} {label}", after) for label, after in self._of(state, number, process))
        for message in state.limbo:
            yield f"late: {message}", self.arrived(replace(state, limbo=state.limbo - {message}), message)
        if not state.link:
            yield "the link is back", replace(state, link=True)
        elif state.faults:
            yield "the link breaks", replace(state.faulty, link=False)

    def ticked(self, state: Chain) -> Chain:
        """Return what is so a tick later: by then a guard has killed a tree whose lease is over for long enough."""
        kept = tuple(
            replace(
                each,
                granted=_past(each.granted, LEASE + SLACK),
                changed=max(each.changed - 1, -int(self.policy.start_within)),
                stop_asked=_past(each.stop_asked, int(self.policy.stop_within)),
                cancel_tried=_past(each.cancel_tried, int(self.policy.cancel_every)),
            )
            for each in state.kept
        )
        processes = tuple(replace(each, until=max(each.until - 1, -SLACK)) for each in state.processes)
        limbo = frozenset((kind, whose, max(sent - 1, -LEASE)) for kind, whose, sent in state.limbo)
        state = replace(state, kept=kept, processes=processes, limbo=limbo)
        for number, each in enumerate(state.processes):
            if self.guarded and each.phase == "works" and each.until <= -SLACK:
                state = state.process(number, phase="gone")
        return state

    def plain(self, state: Chain) -> Chain:
        """Return the same without what makes no difference any more."""
        for number, each in enumerate(state.processes):
            if each.phase == "gone":
                owed = each.result if ("result", number, 0) in state.limbo else ""
                state = state.process(number, until=0, daemon=False, result=owed)
        for number, kept in enumerate(state.kept):
            if kept.fenced:
                state = state.attempt(number, **self._closed(state, number, kept))
            elif kept.granted is not None:
                state = state.attempt(number, launches=0, changed=0)
        return state

    def _closed(self, state: Chain, number: int, kept: Kept) -> dict[str, object]:
        """Return what can be forgotten of a fenced attempt."""
        changes: dict[str, object] = {"fenced": "closed", "launches": 0, "changed": 0, "stop_asked": None, "result": ""}
        if kept.cancelled:
            changes |= {"cancel_tried": None}
        works = any(each.attempt == number and each.phase != "gone" for each in state.processes)
        jobs = any(each.attempt == number and each.state == WAITING for each in state.jobs)
        over = is_over(self._observed(number, kept), 0, self.policy, self.proofs)
        if over and not works and not jobs and not state.limbo and state.link:
            changes |= {"granted": None, "over": False, "destroyed": False, "cancelled": True, "cancel_tried": None,
                        "said": ENDED, "bound": -1}  # fmt: skip
        return changes

    # -- the head -----------------------------------------------------------------------------------------------------

    def _of_runs(self, state: Chain) -> Iterator[Move]:
        if not state.alive:
            if state.runs:
                yield "a new run begins", _begun(state)
            return
        if state.runs:
            yield "the run is killed", replace(state, alive=False, pending=None, stops=False)
        if state.stop and not state.stops:
            yield "somebody asks it to stop", replace(state, stop=state.stop - 1, stops=True)
        if state.pending is None:
            after = self.looked(state)
            if after != state:
                yield f"the run looks: {after.pending or 'waits'}", after
        else:
            said = type(state.pending).__name__
            yield f"the run acts: {said}", self.acted(state)
            if state.faults:
                yield from ((f"the run acts: {said}, {how}", after) for how, after in self._badly_acted(state))

    def seen(self, state: Chain, number: int) -> str:
        """Return what the launcher says of an attempt's job."""
        if not state.link:
            return UNKNOWN
        found = set()
        for place, job in enumerate(state.jobs):
            if job.attempt == number and job.forgotten and not self.by_name:
                found.add(RUNNING)  # somebody else's, with the same number
            elif job.attempt == number and not job.forgotten:
                own = [each for each in state.processes if each.job == place]
                ended = job.state == RUNNING and own and all(each.phase == "gone" for each in own)
                found.add(ENDED if ended else job.state)
        return next((each for each in (RUNNING, WAITING, ENDED) if each in found), UNKNOWN)

    def looked(self, state: Chain) -> Chain:
        """Return what is so after the run has looked: its next step is decided."""
        for number, each in enumerate(state.kept):
            if (said := self.seen(state, number)) != each.said:
                state = state.attempt(number, said=said, changed=0)
        step = decide(self.observed(state), self.rules, self.proofs)
        if isinstance(step, Start) and state.stops:
            raise Broken("a run that is to stop starts an attempt")
        return state if isinstance(step, Wait) else replace(state, pending=step)

    def observed(self, state: Chain) -> Observed:
        """Return what the run sees."""
        attempts = tuple(self._observed(number, each) for number, each in enumerate(state.kept))
        return Observed(run=f"r{state.run}", now=0, attempts=attempts, stops=state.stops, policy=self.policy)

    def _observed(self, number: int, kept: Kept) -> Attempt:
        claim = Claim(attempt=f"{number}", run=f"r{kept.run}", tasks=("build",), builder=f"b{number}", made=0)
        return Attempt(
            claim=claim, launches=kept.launches, changed=kept.changed, job=JobState(kept.said), granted=kept.granted,
            seconds=LEASE, stop_asked=kept.stop_asked, fenced=kept.fenced, refused=kept.refused,
            cancelled=kept.cancelled, cancel_tried=kept.cancel_tried, has_result=bool(kept.result),
            wrong=kept.result if kept.result in self.checks else "", accepted=kept.accepted,
            over=0 if kept.over else None, destroyed=kept.destroyed,
        )  # fmt: skip

    def acted(self, state: Chain) -> Chain:
        """Return what is so after the pending step was done."""
        step, state = state.pending, replace(state, pending=None)
        match step:
            case Start():
                return self._launched(self._claimed(state), len(state.kept))
            case LaunchAgain(attempt=which):
                return self._launched(state, int(which))
            case AskToStop(attempt=which):
                return state.attempt(int(which), stop_asked=0)
            case Cancel(attempt=which):
                state = state.attempt(int(which), cancel_tried=0)
                if not (state.link and self.cancels):
                    return state
                return self.cancelled(state, int(which)).attempt(int(which), cancelled=True)
            case Fence(attempt=which, why=why):
                return state.attempt(int(which), fenced=why)
            case Refuse(attempt=which, why=why):
                return state.attempt(int(which), fenced=why, refused=True)
            case Accept(attempt=which):
                return self._accepted(state, int(which))
        assert isinstance(step, Fail | Done)
        self._check_end(state, step)
        return replace(state, outcome=step)

    def _claimed(self, state: Chain) -> Chain:
        own = [each for each in state.kept if each.run == state.run]
        if any(each.accepted for each in own):
            raise Broken("an attempt starts though there is a result")
        if len(own) > self.policy.retry_lost:
            raise Broken(f"a run makes {len(own) + 1} attempts")
        return replace(state, kept=(*state.kept, Kept(run=state.run)))

    def _launched(self, state: Chain, number: int, times: int = 1) -> Chain:
        state = state.attempt(number, launches=state.kept[number].launches + 1, changed=0)
        jobs = (Job(attempt=number),) * times if state.link else ()
        return replace(state, jobs=(*state.jobs, *jobs))

    def cancelled(self, state: Chain, number: int, *, processes: bool = True) -> Chain:
        """Return what is so after the scheduler has cancelled an attempt's jobs."""
        for place, job in enumerate(state.jobs):
            if job.attempt == number and job.forgotten and not self.by_name:
                raise Broken("somebody else's job is cancelled")
            if job.attempt == number and not job.forgotten:
                state = state.job(place, state=ENDED)
                for each, process in enumerate(state.processes):
                    if processes and process.job == place:
                        state = state.process(each, phase="gone")
        return state

    def _accepted(self, state: Chain, number: int) -> Chain:
        kept = state.kept[number]
        if kept.fenced:
            raise Broken("a result of a fenced attempt is accepted")
        if kept.run != state.run:
            raise Broken("a result of another run's attempt is accepted")
        if kept.result != "right":
            raise Broken(f"a lie is accepted: {kept.result}")
        if any(each.accepted for each in state.kept if each.run == state.run):
            raise Broken("two results are accepted")
        return state.attempt(number, accepted=True)

    def _check_end(self, state: Chain, step: Fail | Done) -> None:
        own = [each for each in state.kept if each.run == state.run]
        if not all(each.fenced for each in state.kept):
            raise Broken("the run ends, and a token is valid")
        if isinstance(step, Done) and sum(each.accepted for each in own) != 1:
            raise Broken("the run ends well without a result")
        if isinstance(step, Fail):
            allowed = {
                Reason.INTERRUPTED: state.stops,
                Reason.LOST: len(own) == self.policy.retry_lost + 1,
                Reason.REFUSED: any(each.refused for each in own),
            }
            if not step.why or not allowed[step.reason]:
                raise Broken(f"the run fails for no reason: {step.reason}")

    def _badly_acted(self, state: Chain) -> Iterator[Move]:
        """Return what an act with the launcher can also come to."""
        step, rest = state.pending, replace(state.faulty, pending=None)
        if isinstance(step, Start | LaunchAgain) and state.link:
            number = len(state.kept) if isinstance(step, Start) else int(step.attempt)
            rest = self._claimed(rest) if isinstance(step, Start) else rest
            yield "and the job gets lost", self._launched(rest, number, 0)
            yield "and there are two jobs", self._launched(rest, number, 2)
            late = self._launched(rest, number, 0)
            yield "and the job comes late", replace(late, limbo=late.limbo | {("launch", number, 0)})
        if isinstance(step, Start) and state.runs:
            yield "and the run is killed", replace(rest, alive=False, stops=False)
        if isinstance(step, Cancel) and state.link and self.cancels:
            number = int(step.attempt)
            tried = rest.attempt(number, cancel_tried=0)
            yield "and the answer gets lost", self.cancelled(tried, number)
            yield "and it does nothing", tried
            alive = self.cancelled(tried, number, processes=False)
            yield "and processes live on", alive.attempt(number, cancelled=True)

    # -- the scheduler ------------------------------------------------------------------------------------------------

    def _of_scheduler(self, state: Chain) -> Iterator[Move]:
        for number, job in enumerate(state.jobs):
            if job.forgotten or job.state == ENDED:
                continue
            if job.state == WAITING:
                yield f"job {number} begins", self.begun(state, number)
            if not state.faults:
                continue
            yield f"job {number} is forgotten", state.faulty.job(number, forgotten=True)
            if job.state == RUNNING:
                yield f"job {number} ends, its processes do not", state.faulty.job(number, state=ENDED)
                if sum(each.job == number for each in state.processes) < 2:
                    yield f"job {number} is run again", self.begun(state.faulty, number)
        for number, kept in enumerate(state.kept):
            if state.faults and not kept.destroyed and any(each.attempt == number for each in state.processes):
                yield f"the machine of attempt {number} is destroyed", self._destroyed(state.faulty, number)

    def begun(self, state: Chain, number: int) -> Chain:
        """Return what is so after a job has begun."""
        process = Process(attempt=state.jobs[number].attempt, job=number)
        return replace(state.job(number, state=RUNNING), processes=(*state.processes, process))

    def _destroyed(self, state: Chain, number: int) -> Chain:
        state = state.attempt(number, destroyed=True)
        for place, job in enumerate(state.jobs):
            if job.attempt == number:
                state = state.job(place, state=ENDED)
        for place, process in enumerate(state.processes):
            if process.attempt == number:
                state = state.process(place, phase="gone")
        return state

    # -- builders -----------------------------------------------------------------------------------------------------

    def _of(self, state: Chain, number: int, process: Process) -> Iterator[Move]:
        reaches = process.daemon and state.link
        if process.phase in ("new", "works") and reaches and process.until < LEASE:
            yield "asks for a lease", self.asked(state, number)
            if state.faults:
                yield from self._badly_asked(state, number)
        if process.phase == "works":
            yield from self._at_work(state, number, process)
        if process.phase == "done" and reaches:
            yield "brings its result", self.brought(state, number)
            if state.faults:
                yield "brings its result, and is gone", self.put(state.faulty, number).process(number, phase="gone")
                yield "sends its result, which is late", state.later("result", number)
        if state.faults and process.daemon:
            phase = process.phase if process.phase == "works" else "gone"
            yield "loses its daemon", state.faulty.process(number, daemon=False, phase=phase)

    def _at_work(self, state: Chain, number: int, process: Process) -> Iterator[Move]:
        reaches = process.daemon and state.link
        if self.guarded and process.until <= SLACK:
            yield "is killed by its guard", self.said_over(state.process(number, phase="gone"), number, reaches)
            if state.faults and reaches:
                yield "is killed by its guard, in silence", state.faulty.process(number, phase="gone")
        if process.daemon:
            yield "finishes", state.process(number, phase="done", result="right")
        if state.faults and process.daemon:
            yield "fails", self.said_over(state.faulty.process(number, phase="gone"), number, reaches)
            for lie in LIES:
                yield f"lies: {lie}", state.faulty.process(number, phase="done", result=lie)

    def asked(self, state: Chain, number: int, sent: int = 0) -> Chain:
        """Return what is so after a request for a lease was handled and answered."""
        if not self.admitted(state, number):
            return self.answered(state, number, None)
        return self.answered(self._written(state, number), number, sent)

    def _badly_asked(self, state: Chain, number: int) -> Iterator[Move]:
        yield "asks for a lease, and its request is late", state.later("ask", number)
        yield "asks for a lease twice", self.asked(state.later("ask", number), number)
        if self.admitted(state, number):
            written = self._written(state, number)
            yield "asks for a lease, and the answer gets lost", written.faulty
            yield "asks for a lease, and the answer is late", written.later("answer", number)
            yield "asks for a lease, and the hub takes its time", state.later("write", number)

    def admitted(self, state: Chain, number: int) -> bool:
        """Say whether the hub lets an execution in."""
        kept = state.kept[state.processes[number].attempt]
        if self.knows_dead_runs and (kept.run != state.run or not state.alive):
            return False
        return not (self.closes and kept.fenced) and (not self.binds or kept.bound in (None, number))

    def _written(self, state: Chain, number: int) -> Chain:
        which = state.processes[number].attempt
        bound = state.kept[which].bound
        return state.attempt(which, granted=0, bound=number if bound is None else bound)

    def answered(self, state: Chain, number: int, sent: int | None) -> Chain:
        """Return what is so after an execution got its answer: a lease from when it asked for it, or 410."""
        process = state.processes[number]
        if process.phase not in ("new", "works") or not process.daemon:
            return state
        if sent is None:
            refused = state.process(number, phase="gone")
            return self.said_over(refused, number, heard=True)
        until = max(process.until, (sent if self.counts_from_before else 0) + LEASE)
        if until <= 0:
            return state
        if state.kept[process.attempt].stop_asked is not None:
            return self.said_over(state.process(number, phase="gone", until=until), number, heard=True)
        return state.process(number, phase="works", until=until)

    def said_over(self, state: Chain, number: int, heard: bool) -> Chain:
        """Return what is so after an execution has said its last line."""
        which = state.processes[number].attempt
        kept = state.kept[which]
        bound = kept.bound == number or not self.hears_the_bound_one
        return state.attempt(which, over=True) if heard and bound and not kept.fenced else state

    def put(self, state: Chain, number: int) -> Chain:
        """Return what is so after a result has come to the hub: the first one is stored."""
        which = state.processes[number].attempt
        kept = state.kept[which]
        if kept.result or kept.fenced or kept.bound != number:
            return state
        return state.attempt(which, result=state.processes[number].result)

    def brought(self, state: Chain, number: int) -> Chain:
        """Return what is so after an execution has brought its result and said its last line."""
        return self.said_over(self.put(state, number).process(number, phase="gone"), number, heard=True)

    def arrived(self, state: Chain, message: tuple[str, int, int]) -> Chain:
        """Return what is so after a late message."""
        kind, whose, sent = message
        if kind == "launch":
            return replace(state, jobs=(*state.jobs, Job(attempt=whose)))
        if kind == "result":
            return self.put(state, whose)
        if kind == "ask":
            return self.asked(state, whose, sent)
        if kind == "answer":
            return self.answered(state, whose, sent)
        assert kind == "write"
        written = self._written(state, whose)
        again = not self.looks_twice or self.admitted(state, whose)
        return self.answered(written, whose, sent if again else None)

    # -- ends ---------------------------------------------------------------------------------------------------------

    def rests(self, state: Chain) -> bool:
        """Say whether the state is brought to its end: each one is, but between a look and what follows it."""
        return state.pending is None

    def settle(self, state: Chain) -> None:
        """Let everything go its way, undisturbed: the run ends as it should, and nothing is left."""
        state = replace(state, link=True, limbo=frozenset(), faults=0)
        if not state.alive:
            self._died_out(state)
            state = _begun(state)
        expected = self._expected(state)
        outcome = self._ending(self.plain(state))
        reason = outcome.reason if isinstance(outcome, Fail) else None
        if expected is not None and reason is not expected[0]:
            raise Broken(f"all is calm, and the run ends with {outcome}")

    def _ending(self, state: Chain) -> Step:
        """Return how a calm run ends; one that was asked to stop has builders that do not get ready."""
        way: list[Chain] = []
        while (outcome := self.endings.get(state, state.outcome)) is None:
            way.append(state)
            if len(way) > 40:
                raise Broken("all is calm, and the run never ends")
            state = self.plain(self._calm(state, endless=state.stops))
        if state not in self.endings:
            self._left(state)
            self._died_out(state)
        self.endings.update(dict.fromkeys([*way, state], outcome))
        return outcome

    def _expected(self, state: Chain) -> tuple[Reason | None] | None:
        """Return the reason with which the run must end, None in it for success; nothing when several are right."""
        own = [each for each in state.kept if each.run == state.run]
        if state.outcome is not None or state.stops or isinstance(state.pending, Fence):
            return None
        if any(each.result in LIES and not each.fenced for each in own):
            return (Reason.REFUSED,)
        lied = any(each.refused for each in own) or any(each.result in LIES for each in state.processes)
        return (None,) if len(own) <= self.policy.retry_lost and not lied else None

    def _calm(self, state: Chain, endless: bool) -> Chain:
        """Return what is so a tick later, when nothing goes wrong and everybody does something."""
        for _ in range(20):
            after = self.acted(state) if state.pending is not None else self.looked(state)
            if after.outcome is not None:
                return after
            if after == state:
                break
            state = after
        for number, job in enumerate(state.jobs):
            if job.state == WAITING and not job.forgotten:
                state = self.begun(state, number)
        for number, process in enumerate(state.processes):
            if process.phase in ("new", "works") and process.daemon:
                known = process.phase == "works"
                state = self.asked(state, number)
                if known and not endless and state.processes[number].phase == "works":
                    state = state.process(number, phase="done", result="right")
            if state.processes[number].phase == "done" and process.daemon:
                state = self.brought(state, number)
            self.check(state)
        return self.ticked(state)

    def _died_out(self, state: Chain) -> Chain:
        """Return what is so when the run does nothing any more: no execution outlives lease and grace."""
        state = replace(state, pending=None)
        for _ in range(LEASE + SLACK + 1):
            for number, process in enumerate(state.processes):
                if process.phase in ("new", "works") and process.daemon:
                    state = self.asked(state, number)
            state = self.ticked(state)
        if any(each.phase == "works" for each in state.processes):
            raise Broken("an execution outlives its run, lease and grace")
        return state

    def _left(self, state: Chain) -> None:
        for job in state.jobs:
            kept = state.kept[job.attempt]
            if job.state == WAITING and not job.forgotten and kept.said == WAITING and not _was_cancelled(kept):
                raise Broken("the run has ended, and its job waits in the queue")

    def shown(self, state: Chain) -> Iterable[str]:
        """Return what there is."""
        yield f"run {state.run}{'' if state.alive else ' (dead)'}, {state.outcome or 'no end'}"
        yield from (f"attempt {number}: {each}" for number, each in enumerate(state.kept))
        yield from (f"job {number}: {each}" for number, each in enumerate(state.jobs))
        yield from (f"execution {number}: {each}" for number, each in enumerate(state.processes))


def _begun(state: Chain) -> Chain:
    runs = max(0, state.runs - 1)
    return replace(state, run=state.run + 1, alive=True, stops=False, pending=None, outcome=None, runs=runs)


def _was_cancelled(kept: Kept) -> bool:
    return kept.cancelled or kept.cancel_tried is not None


def _past(when: int | None, most: int) -> int | None:
    """Return a moment a tick later, as its distance from now; what is long past is past."""
    return None if when is None else max(when - 1, -most)


def beginning(*, faults: int, runs: int = 0, stop: int = 0) -> Chain:
    """Return a run that has not looked yet, and all that may go wrong."""
    return Chain(faults=faults, runs=runs, stop=stop)
