"""Machines of two heads in one cloud: answers that get lost, requests that come twice or late, machines that stay in
BUILD or go to ERROR, people who delete machines, processes that die, and a head that never comes back.

Decisions are those of `remote.machines`. Time goes in ticks, and each time is kept as its distance from now, as far as
anybody cares; machines are numbered again in each state, so that there are finitely many. `World` has a switch for each
promise that the rules rest on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import NamedTuple, TypeVar, cast

from cc_images.remote import machine_steps as steps
from cc_images.remote.machine_steps import Observed, Policy, State, Step
from cc_images.remote.machines import RULES, Rule, decide
from tests.support.exploring import Broken

LONG = 99
"""A time to live that is not over while anything else happens, so that it does not hide what else goes wrong."""

POLICY = Policy(
    reserve=0, maximum=1, ttl=LONG, least=2, build_within=2, settle=1, pause=1, destroy_every=1, skew=1, look_every=1,
    tries=2,
)  # fmt: skip
PEOPLE = -1
OLDEST = -3

T = TypeVar("T")


def replace(value: T, **changes: object) -> T:
    """Return a named tuple with changes."""
    return cast(T, methodcaller("_replace", **changes)(value))


class Server(NamedTuple):
    """A machine of the cloud. `left`: ticks until its tags say that it expires."""

    id: int
    name: int
    head: int
    left: int
    state: State = State.BUILD
    jobs: frozenset[int] = frozenset()
    """The wants whose jobs ran on it."""
    at_work: int | None = None


class Kept(NamedTuple):
    """A record of a head."""

    name: int
    made: int = 0
    id: int | None = None
    want: int | None = None
    doomed: bool = False
    trouble: bool = False


class Process(NamedTuple):
    """A process of a head; its want is its number."""

    head: int
    want: str = ""
    """Empty: it only sweeps; waits, served, over, failed."""
    node: bool = False
    served: int | None = None
    alive: bool = True
    seen: tuple[Server, ...] | None = None
    """The cloud when it looked last."""
    read: tuple[Kept, ...] | None = None
    """The records then, for who reads them first."""
    pending: Step | None = None
    named: int = 0
    left: int = 0
    """The name, and the time left, of a machine that it is about to ask for."""
    tried: tuple[tuple[int, int], ...] = ()
    troubles: int = 0


class Cloud(NamedTuple):
    """Everything."""

    faults: int
    deaths: int
    processes: tuple[Process, ...]
    servers: tuple[Server, ...] = ()
    records: tuple[Kept, ...] = ()
    """Of head 0; head 1 only sweeps."""
    number: int = 1
    """The next machine's, or name's."""

    def process(self, number: int, **changes: object) -> Cloud:
        return self.put(number, replace(self.processes[number], **changes))

    def put(self, number: int, process: Process) -> Cloud:
        return replace(self, processes=(*self.processes[:number], process, *self.processes[number + 1 :]))

    def server(self, id: int, **changes: object) -> Cloud:
        return replace(
            self, servers=tuple(replace(each, **changes) if each.id == id else each for each in self.servers)
        )

    def record(self, name: int, **changes: object) -> Cloud:
        return replace(
            self, records=tuple(replace(each, **changes) if each.name == name else each for each in self.records)
        )

    @property
    def faulty(self) -> Cloud:
        return replace(self, faults=self.faults - 1)


Move = tuple[str, Cloud]


@dataclass(frozen=True)
class World:
    """Two heads, their processes, and the cloud."""

    rules: Sequence[Rule] = RULES
    policy: Policy = POLICY
    cloud_first: bool = True
    """Whether the cloud is looked at before the records are."""
    writes_first: bool = True
    """Whether a record is written before the cloud is asked."""
    dooms_first: bool = True
    """Whether a record says that its machine is destroyed before the cloud is asked."""
    by_tags: bool = True
    """Whether machines are told apart by their tags, and not by their names."""
    asks_by_id: bool = True
    """Whether a machine that is not in the list is asked for by its id before it counts as gone."""
    settled: dict[Cloud, None] = field(default_factory=dict, compare=False)

    # -- everything that can happen next ------------------------------------------------------------------------------

    def moves(self, state: Cloud) -> Iterator[Move]:
        """Return everything that can happen next."""
        for label, after in self._moves(state):
            self.check(after)
            yield label, plain(after)

    def check(self, state: Cloud) -> None:
        """Raise Broken when there are more records than machines may be, or two wants have one machine."""
        if len(state.records) > self.policy.maximum:
            raise Broken(f"there are {len(state.records)} machines, and {self.policy.maximum} may be")
        alive = [each.served for each in state.processes if each.alive and each.want == "served"]
        if len(alive) != len(set(alive)):
            raise Broken("two wants have one machine")

    def _moves(self, state: Cloud) -> Iterator[Move]:
        yield "time goes on", self.ticked(state)
        for number, process in enumerate(state.processes):
            if process.alive:
                yield from ((f"process {number} {label}", after) for label, after in self._of(state, number, process))
        for server in state.servers:
            yield from ((f"machine {server.id} {label}", after) for label, after in self._of_server(state, server))

    def _of_server(self, state: Cloud, server: Server) -> Iterator[Move]:
        if server.state is State.BUILD:
            yield "is ready", state.server(server.id, state=State.ACTIVE)
        if server.state is State.LEAVING:
            yield "is gone", self.removed(state, server.id)
        if state.faults and server.head == 0:
            if server.state is State.BUILD:
                yield "fails", state.faulty.server(server.id, state=State.ERROR)
            yield "is deleted by people", self.removed(state.faulty, server.id)

    def removed(self, state: Cloud, id: int) -> Cloud:
        return replace(state, servers=tuple(each for each in state.servers if each.id != id))

    def ticked(self, state: Cloud) -> Cloud:
        """Return what is so a tick later."""
        tick = 0 if self.policy.ttl == LONG else 1
        oldest = -int(max(self.policy.build_within, self.policy.settle, self.policy.pause, self.policy.ttl * tick))
        return replace(
            state,
            servers=tuple(replace(each, left=max(each.left - tick, OLDEST)) for each in state.servers),
            records=tuple(replace(each, made=max(each.made - 1, oldest)) for each in state.records),
            processes=tuple(
                replace(
                    each,
                    tried=tuple((id, when - 1) for id, when in each.tried if when - 1 > -self.policy.destroy_every),
                    left=each.left - tick if each.named else 0,
                    seen=each.seen and tuple(replace(one, left=max(one.left - tick, OLDEST)) for one in each.seen),
                )
                for each in state.processes
            ),
        )

    # -- processes ----------------------------------------------------------------------------------------------------

    def _of(self, state: Cloud, number: int, process: Process) -> Iterator[Move]:
        if state.deaths:
            dead = replace(
                process, alive=False, seen=None, read=None, pending=None, named=0, left=0, tried=(), troubles=0
            )
            yield "is killed", replace(state, deaths=state.deaths - 1).put(number, dead)
        if process.want == "served":
            server = self.used(state, number)
            if server is not None and server.at_work is None:
                yield "begins its job", self.begun(state, number, server)
            yield "ends its job", self.over(state, number)
        if process.want == "waits":
            yield "does not wait any more", state.process(number, want="over")
        if process.pending is not None:
            yield from self._acts(state, number, process)
        elif process.seen is None:
            after = self.looked(state, number)
            if self.decided(after, number) != after.process(number, seen=None, read=None):
                yield "looks", after
                for server in state.servers if state.faults else ():
                    yield (
                        f"looks, and machine {server.id} is not in the list",
                        self.looked(state.faulty, number, server),
                    )
        else:
            after = self.decided(state, number)
            yield f"decides: {after.processes[number].pending or 'nothing to do with the cloud'}", after

    def used(self, state: Cloud, number: int) -> Server | None:
        """Return the machine that a process uses, if it is there."""
        record = next((each for each in state.records if each.name == state.processes[number].served), None)
        return next((each for each in state.servers if record and each.id == record.id), None)

    def begun(self, state: Cloud, number: int, server: Server) -> Cloud:
        """Return what is so after a job has begun. Raises Broken when somebody's ran there."""
        if server.jobs - {number}:
            raise Broken(f"machine {server.id} is used again")
        return state.server(server.id, jobs=server.jobs | {number}, at_work=number)

    def over(self, state: Cloud, number: int) -> Cloud:
        """Return what is so after the end of a job."""
        for server in state.servers:
            if server.at_work == number:
                state = state.server(server.id, at_work=None)
        return state.process(number, want="over", served=None)

    def looked(self, state: Cloud, number: int, but: Server | None = None) -> Cloud:
        """Return what is so after a process has asked for the machines."""
        seen = tuple(each for each in state.servers if but is None or each.id != but.id)
        return state.process(number, seen=seen, read=None if self.cloud_first else state.records)

    def observed(self, state: Cloud, number: int) -> Observed:
        """Return what a process knows: the cloud as it was, and the records as they are."""
        process = state.processes[number]
        assert process.seen is not None
        tried = dict(process.tried)
        seen = process.seen if self.cloud_first else state.servers
        records = state.records if process.read is None else process.read
        machines = tuple(
            steps.Machine(
                id=str(each.id), name=str(each.name), state=each.state, created=each.id, address="there",
                cluster=self._tag(each), head=self._tag(each) and str(max(each.head, 0)),
                expires=each.left if each.head >= 0 else None, tried=tried.get(each.id),
            )
            for each in seen
        )  # fmt: skip
        if process.head:
            return Observed(head="1", cluster="ours", now=0, machines=machines, policy=replace_policy(self.policy))
        there = {each.id for each in (state.servers if self.asks_by_id else process.seen)}
        known = tuple(
            steps.Record(
                name=str(each.name), made=each.made, id="" if each.id is None else str(each.id),
                want="" if each.want is None else str(each.want), doomed="doomed" if each.doomed else "",
                trouble=each.trouble, gone=each.id is not None and each.id not in there,
            )
            for each in records
        )  # fmt: skip
        wants = tuple(
            steps.Want(id=str(which), node=each.node, served="" if each.served is None else str(each.served))
            for which, each in enumerate(state.processes)
            if each.want in ("waits", "served") and each.alive
        )
        return Observed(
            head="0", cluster="ours", now=0, machines=machines, records=known, wants=wants, policy=self.policy,
            me=str(number), failures=["failed"] * process.troubles,
        )  # fmt: skip

    def _tag(self, server: Server) -> str:
        return "ours" if server.head >= 0 or not self.by_tags else ""

    def decided(self, state: Cloud, number: int) -> Cloud:
        """Return what is so after a process has decided and written, under the lock of the records."""
        step = decide(self.observed(state, number), self.rules)
        process = state.processes[number]
        state = state.process(number, seen=None, read=None)
        if isinstance(step, steps.Note):
            return state.record(int(step.name), id=int(step.id))
        if isinstance(step, steps.Use):
            which = int(step.want)
            state = state.record(int(step.name), want=which)
            return state.process(which, want="served", served=int(step.name))
        if isinstance(step, steps.Forget):
            name = int(step.name)
            return replace(state, records=tuple(each for each in state.records if each.name != name))
        if isinstance(step, steps.Fail):
            return state.process(number, want="failed")
        if isinstance(step, steps.Create):
            state = state.process(number, pending=step, named=state.number, left=int(self.policy.ttl))
            kept = Kept(name=state.number, want=int(step.node) if step.node else None)
            state = replace(state, number=state.number + 1)
            return replace(state, records=(*state.records, kept)) if self.writes_first else state
        if isinstance(step, steps.Destroy):
            if step.name and self.dooms_first:
                counted = step.trouble and not any(
                    each.name == int(step.name) and each.trouble for each in state.records
                )
                state = state.record(int(step.name), doomed=True, trouble=step.trouble)
                if counted:
                    state = self._counted(state)
            return state.process(number, pending=step, tried=(*process.tried, (int(step.id), 0)))
        assert isinstance(step, steps.Wait)
        return state

    def _counted(self, state: Cloud) -> Cloud:
        """Return what is so after all have seen that a machine failed."""
        most = self.policy.tries
        return replace(
            state,
            processes=tuple(
                replace(each, troubles=min(each.troubles + 1, most)) if each.alive and not each.head else each
                for each in state.processes
            ),
        )

    def _acts(self, state: Cloud, number: int, process: Process) -> Iterator[Move]:
        step = process.pending
        if isinstance(step, steps.Destroy):
            yield f"destroys machine {step.id}", self.destroyed(state, number, step)
            if state.faults:
                yield "asks to destroy, in vain", state.faulty.process(number, pending=None)
            return
        assert isinstance(step, steps.Create)
        done = state.process(number, pending=None, named=0, left=0)
        yield f"creates machine {state.number}", self.answered(self.created(done, process), process)
        if state.faults:
            yield "creates, and the answer is an error", self.created(done.faulty, process)
            yield "asks to create, in vain", done.faulty
            refused = done.faulty.record(process.named, doomed=True, trouble=True)
            yield "is refused a machine", self._counted(refused)
            twice = self.created(self.created(done.faulty, process), process)
            yield "creates twice", self.answered(twice, process)

    def created(self, state: Cloud, process: Process) -> Cloud:
        server = Server(id=state.number, name=process.named, head=0, left=process.left)
        if not self.writes_first:
            state = replace(state, records=(*state.records, Kept(name=process.named, id=state.number)))
        return replace(state, servers=(*state.servers, server), number=state.number + 1)

    def answered(self, state: Cloud, process: Process) -> Cloud:
        """Return what is so after the answer is written into the record, if that has no other."""
        record = next((each for each in state.records if each.name == process.named), None)
        if record is None or record.id is not None:
            return state
        return state.record(process.named, id=state.servers[-1].id)

    def destroyed(self, state: Cloud, number: int, step: steps.Destroy) -> Cloud:
        """Return what is so after the cloud has begun to destroy a machine. Raises Broken when it should not."""
        state = state.process(number, pending=None)
        server = next((each for each in state.servers if each.id == int(step.id)), None)
        if server is None:
            return state
        own = server.head == state.processes[number].head
        if not own and (server.head == PEOPLE or server.left > -self.policy.skew):
            raise Broken(f"machine {server.id} is somebody else's, and is destroyed")
        user = server.at_work
        if user is not None and server.left > 0 and server.state is State.ACTIVE and state.processes[user].alive:
            raise Broken(f"machine {server.id} is destroyed under a job")
        return state.server(server.id, state=State.LEAVING)

    # -- ends ---------------------------------------------------------------------------------------------------------

    def rests(self, state: Cloud) -> bool:
        """Say whether the state is brought to its end: each one is in which nothing is about to be done."""
        return all(each.pending is None and each.seen is None for each in state.processes)

    def settle(self, state: Cloud) -> None:
        """Let everything go its way, undisturbed: who waits gets a machine, and in the end the reserve is left.

        Then the head does not come back, and another one sweeps what it has left.
        """
        state = plain(replace(state, faults=0, deaths=0))
        way: list[Cloud] = []
        while state not in self.settled and not self._in_order(state):
            way.append(state)
            if len(way) > 40:
                raise Broken("all is calm, and it is never in order")
            state = plain(self._calm(state))
        if state not in self.settled:
            self._abandoned(state)
        self.settled.update(dict.fromkeys([*way, state]))

    def _in_order(self, state: Cloud) -> bool:
        """Say whether nobody waits, and the cloud has the reserve and nothing else of this head."""
        own = [each for each in state.servers if each.head == 0]
        ready = all(each.state is State.ACTIVE and each.left > 0 and not each.jobs for each in own)
        waits = any(each.want in ("waits", "served") and each.alive for each in state.processes)
        known = sorted(each.id for each in own) == sorted(each.id or 0 for each in state.records)
        return ready and known and not waits and len(own) == self.policy.reserve

    def _abandoned(self, state: Cloud) -> None:
        """Check that another head destroys what a head has left that never comes back."""
        sweeper = Process(head=1)
        expired = tuple(replace(each, left=-int(self.policy.skew)) for each in state.servers)
        state = replace(state, processes=(sweeper,), records=(), servers=expired)
        for _ in range(3):
            state = self._worked(self.ticked(state), 0)
            for server in state.servers:
                if server.state is State.LEAVING:
                    state = self.removed(state, server.id)
        if any(each.head >= 0 for each in state.servers):
            raise Broken("the head is dead, and its machine is left for ever")
        if not any(each.head == PEOPLE for each in state.servers):
            raise Broken("a machine of people is gone")

    def _calm(self, state: Cloud) -> Cloud:
        """Return what is so a tick later, when nothing goes wrong and everybody does something."""
        if not any(each.alive and not each.head for each in state.processes):
            state = replace(state, processes=(*state.processes, Process(head=0)))
        for number, process in enumerate(state.processes):
            if process.alive:
                state = self._calm_process(state, number)
        for server in state.servers:
            if server.state is State.BUILD:
                state = state.server(server.id, state=State.ACTIVE)
            elif server.state is State.LEAVING:
                state = self.removed(state, server.id)
        return self.ticked(state)

    def _calm_process(self, state: Cloud, number: int) -> Cloud:
        """Return what is so after a process has begun or ended its job, and done all that it can do now."""
        if state.processes[number].want == "served":
            server = self.used(state, number)
            begins = server is not None and server.at_work is None and not server.jobs
            state = self.begun(state, number, server) if server and begins else self.over(state, number)
        state = self._worked(state, number)
        process = state.processes[number]
        if process.want == "waits" and process.troubles >= self.policy.tries:
            raise Broken(f"process {number} waits on after {process.troubles} failures")
        if not process.head:
            self._check_time(state)
        return state

    def _check_time(self, state: Cloud) -> None:
        """Raise Broken when a machine waits for a job that it has no time for."""
        for record in state.records:
            old = record.made + self.policy.ttl < self.policy.least
            ready = any(each.id == record.id and each.state is State.ACTIVE for each in state.servers)
            if old and ready and record.want is None and not record.doomed:
                raise Broken("a machine has too little time left for a job, and is kept")

    def _worked(self, state: Cloud, number: int) -> Cloud:
        """Return what is so after a process has done all that it can do now."""
        for _ in range(30):
            process = state.processes[number]
            if process.pending is not None:
                _, state = next(self._acts(state, number, process))
                continue
            looked = state if process.seen is not None else self.looked(state, number)
            after = self.decided(looked, number)
            self.check(after)
            if after == looked.process(number, seen=None, read=None):
                return after
            state = after
        raise Broken("all is calm, and a process never waits")

    def shown(self, state: Cloud) -> Iterable[str]:
        """Return what there is."""
        yield from (f"process {number}: {each}" for number, each in enumerate(state.processes))
        yield from (f"record: {each}" for each in state.records)
        yield from (f"machine: {each}" for each in state.servers)


def replace_policy(policy: Policy) -> Policy:
    """Return the policy of the other head, which has no reserve."""
    return Policy(reserve=0, maximum=1, skew=policy.skew, destroy_every=policy.destroy_every)


def plain(state: Cloud) -> Cloud:
    """Return the same with machines and names numbered from 1, in their order, without what makes no difference."""
    used = {each.id for each in state.servers} | {each.name for each in state.servers}
    used |= {each.name for each in state.records} | {each.id for each in state.records if each.id is not None}
    for process in state.processes:
        used |= {each.id for each in process.seen or ()} | {each.name for each in process.seen or ()}
        used |= {each for each in (process.served, process.named) if each}
        if isinstance(process.pending, steps.Destroy):
            used |= {int(process.pending.id), *([int(process.pending.name)] if process.pending.name else [])}
    again = {old: new for new, old in enumerate(sorted(used - {0}), 1)} | {0: 0}
    if all(old == new for old, new in again.items()):
        return replace(state, number=len(again))
    servers = tuple(replace(each, id=again[each.id], name=again[each.name]) for each in state.servers)
    records = tuple(
        replace(each, name=again[each.name], id=None if each.id is None else again[each.id]) for each in state.records
    )
    processes = tuple(_numbered(each, again) for each in state.processes)
    return replace(state, servers=servers, records=records, processes=processes, number=len(again))


def _numbered(process: Process, again: dict[int, int]) -> Process:
    seen = process.seen and tuple(replace(each, id=again[each.id], name=again[each.name]) for each in process.seen)
    pending = process.pending
    if isinstance(pending, steps.Destroy):
        name = str(again[int(pending.name)]) if pending.name else ""
        pending = steps.Destroy(id=str(again[int(pending.id)]), name=name, why=pending.why, trouble=pending.trouble)
    return replace(
        process,
        seen=seen,
        pending=pending,
        named=again[process.named],
        served=None if process.served is None else again[process.served],
        tried=tuple((again[id], when) for id, when in process.tried if id in again),
    )


def beginning(
    *, faults: int = 0, deaths: int = 0, wants: int = 1, sweeps: int = 0, nodes: bool = False, others: int = 0
) -> Cloud:
    """Return processes that have not looked yet, a machine of people's, and all that may go wrong."""
    waiting = [Process(head=0, want="waits", node=nodes)] * wants
    people = Server(id=1, name=1, head=PEOPLE, left=0, state=State.ACTIVE)
    processes = (*waiting, *[Process(head=0)] * sweeps, *[Process(head=1)] * others)
    return Cloud(faults=faults, deaths=deaths, processes=processes, servers=(people,), number=2)
