"""The queue of the service: builds that are requested and cancelled, runs that end or die, a service that is killed.

Decisions are those of `web.decisions`. The service commits to the database before it launches, and may be killed in
between: `intent` is in its memory alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cc_images.web.decisions import RULES, Close, Launch, Observed, Room, Rule, Status, Step, Stop, decide
from tests.support.attempt_model import replace
from tests.support.exploring import Broken

ROOM = Room(places=1, of_account=1)


class Process(NamedTuple):
    """The process of a build: `spawned`, `planned`, and after that an end by its own word or `killed`."""

    state: str
    stop: bool = False

    @property
    def alive(self) -> bool:
        return self.state in ("spawned", "planned")


class Build(NamedTuple):
    """A build in the database, and its newest process. `plans`: how often it had one."""

    state: str = "waiting"
    status: str = "PENDING"
    cancelled: bool = False
    launches: int = 0
    stopped: bool = False
    intent: bool = False
    process: Process | None = None
    plans: int = 0


class State(NamedTuple):
    builds: tuple[Build, ...]
    faults: int
    """How often a process or the service is still killed."""
    cancels: int


def beginning(builds: int = 2, faults: int = 2, cancels: int = 1) -> State:
    return State((Build(),) * builds, faults, cancels)


@dataclass(frozen=True)
class World:
    """What can happen. `keeps_lock`: a process is known to live as long as it does; `intends`: the database first."""

    rules: Sequence[Rule] = RULES
    room: Room = ROOM
    keeps_lock: bool = True
    intends: bool = True

    def moves(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._service(state)
        for number, build in enumerate(state.builds):
            for label, reached, cost in self._process(build):
                if cost <= state.faults:
                    yield f"build {number}: {label}", _with(state, number, reached, faults=state.faults - cost)
            if state.cancels and build.state != "over" and not build.cancelled:
                reached = replace(build, cancelled=True)
                yield f"build {number}: cancelled", replace(_with(state, number, reached), cancels=state.cancels - 1)
        if state.faults and any(build.intent for build in state.builds):
            builds = tuple(replace(build, intent=False) for build in state.builds)
            yield "the service is killed, and starts", replace(state, builds=builds, faults=state.faults - 1)

    def _service(self, state: State) -> Iterator[tuple[str, State]]:
        """Go on with the service: it launches at once what it has noted, then looks again."""
        intended = [number for number, build in enumerate(state.builds) if build.intent]
        if intended:
            yield f"build {intended[0]}: launched", _with(state, intended[0], self._launched(state.builds[intended[0]]))
            return
        for step in self.steps(state):
            yield str(step), _with(state, step.number, self._done(step, state.builds[step.number]))

    def steps(self, state: State) -> list[Step]:
        seen = [self._seen(number, build) for number, build in enumerate(state.builds) if build.state != "over"]
        return decide(seen, self.room, self.rules)

    def _seen(self, number: int, build: Build) -> Observed:
        process = build.process
        ended = process.state if process is not None and process.state in ("ok", "failed", "interrupted") else ""
        return Observed(
            number=number, accounts=() if build.cancelled else (number,), running=build.state == "running",
            cancelled=build.cancelled, alive=process is not None and process.alive and self.keeps_lock,
            planned=process is not None and process.state != "spawned" and build.plans > 0, ended=ended,
            launches=build.launches, stopping=0.0 if build.stopped else None,
        )  # fmt: skip

    def _done(self, step: Step, build: Build) -> Build:
        alive = build.process is not None and build.process.alive
        match step:
            case Launch():
                noted = replace(build, state="running", launches=build.launches + 1, intent=True, stopped=False)
                return noted if self.intends else self._launched(build)
            case Stop():
                assert build.process is not None
                return replace(build, stopped=True, process=replace(build.process, stop=True))
            case Close(status=status):
                if alive:
                    raise Broken(f"a build is {status} though its run lives")
                if status is Status.FINISHED and (build.process is None or build.process.state != "ok"):
                    raise Broken("a build is finished though no run says so")
                return replace(build, state="over", status=status)

    def _launched(self, build: Build) -> Build:
        if build.process is not None and build.process.alive:
            raise Broken("a second process is launched")
        return replace(build, intent=False, process=Process("spawned"))

    def _process(self, build: Build) -> Iterator[tuple[str, Build, int]]:
        """Go on with a process: its end, or its death, which is a fault."""
        process = build.process
        if process is None or not process.alive:
            return
        if process.state == "spawned":
            if build.plans:
                raise Broken("it is built twice")
            yield "has a plan", replace(build, process=replace(process, state="planned"), plans=1), 0
        else:
            for end in ("ok", "failed"):
                yield f"ends: {end}", replace(build, process=replace(process, state=end)), 0
        if process.stop:
            yield "stops", replace(build, process=replace(process, state="interrupted")), 0
        yield "is killed", replace(build, process=replace(process, state="killed")), 1

    def rests(self, state: State) -> bool:
        working = any(build.process is not None and build.process.alive for build in state.builds)
        if sum(build.process is not None and build.process.alive for build in state.builds) > self.room.places:
            raise Broken("more runs than places")
        return not working and not any(build.intent for build in state.builds)

    def settle(self, state: State) -> None:
        """Let the service work until nothing is left to do; processes end well."""
        for _ in range(40):
            moved = next(self._service(state), None)
            if moved is None:
                break
            state = moved[1]
            for number, build in enumerate(state.builds):
                while build.process is not None and build.process.alive:
                    build = next(self._process(build))[1]
                state = _with(state, number, build)
        if any(build.state != "over" for build in state.builds):
            raise Broken("a build is never over")

    def shown(self, state: State) -> Iterable[str]:
        return map(str, state.builds)


def _with(state: State, number: int, build: Build, faults: int | None = None) -> State:
    builds = (*state.builds[:number], build, *state.builds[number + 1 :])
    return replace(state, builds=builds, faults=state.faults if faults is None else faults)
