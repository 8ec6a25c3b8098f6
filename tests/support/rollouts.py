"""Sites of two waves, hosts that build and push, versions that turn out bad: every order of events, with kills.

What a site gets and when is decided by the pure functions themselves: `planner.waves`, `planner.pushes`, `sites.gates`,
`sites.rollbacks` and, on a site, publishing. A push is one event here, which may be cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from cc_images.model.catalog import Format
from cc_images.model.plan import Task
from cc_images.model.site import Site
from cc_images.model.status import Hold, Put
from cc_images.planner import pushes, waves
from cc_images.planner.waves import Known, Turn
from cc_images.sites import gates
from cc_images.sites.gates import Passage
from cc_images.sites.rollbacks import Goal, choose
from cc_images.sites.view import View, Wish
from tests.support.atomic import NAME, Images, first, in_force, pushed, seen, version
from tests.support.exploring import Broken

BAKE = 24
"""Hours that a version bakes."""

SITES = (Site(name="one", directory="/1"), Site(name="two", directory="/2", wave=2, bake=BAKE * 3600))


@dataclass(frozen=True, slots=True)
class Host:
    """A host with its store: what it has built, what it remembers, which versions it holds, and its run."""

    name: str
    stored: tuple[str, ...] = ("v1",)
    puts: frozenset[tuple[str, str, int]] = frozenset({("one", "v1", -999), ("two", "v1", -999)})
    """Sites with the version that was put there last, and since when."""
    holds: frozenset[str] = frozenset()
    todo: tuple[Turn, ...] = ()
    promotes: bool = False
    done: frozenset[str] = frozenset()
    """Sites to which this run has pushed, or tried to."""
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Rollout:
    """Everything."""

    hosts: tuple[Host, ...]
    one: Images
    two: Images
    nights: int
    builds: int
    kills: int
    bads: int
    promotions: int
    now: int = 0
    newest: int = 1
    arrived: int = -999
    """Since when the first site has the version that it has."""
    bad: frozenset[str] = frozenset()
    rolled: frozenset[tuple[str, str]] = frozenset()
    """Sites with versions that were taken back there."""


Passes = Callable[[str, View, Mapping[tuple[str, Format], View]], Passage]


@dataclass(frozen=True, slots=True)
class World:
    """The sites, with the functions that decide."""

    passage: Passes = gates.passage
    turns: Callable[..., list[Turn]] = waves.turns
    to_take_back: Callable[..., Hold | None] = gates.to_take_back

    def moves(self, state: Rollout) -> Iterator[tuple[str, Rollout]]:
        """Return everything that can happen next."""
        running = any(host.todo for host in state.hosts)
        if not running and state.nights:
            yield "half a day passes", replace(state, now=state.now + BAKE // 2, nights=state.nights - 1)
        if state.bads and (new := in_force(state.one)) not in state.bad and new != "v1":
            yield f"{new} turns out bad", replace(state, bad=state.bad | {new}, bads=state.bads - 1)
        for number, host in enumerate(state.hosts):
            for label, after, changed in self._host(state, host):
                hosts = (*state.hosts[:number], changed, *state.hosts[number + 1 :])
                yield f"{host.name}: {label}", replace(after, hosts=hosts)

    def _host(self, state: Rollout, host: Host) -> Iterator[tuple[str, Rollout, Host]]:
        if host.todo:
            turn = host.todo[0]
            said = turn.waits or turn.version
            yield f"{turn.site} gets {said}", *self.took(state, host, turn)
            if state.kills:
                less = replace(state, kills=state.kills - 1)
                yield f"{turn.site} is away", less, _gone_on(host, turn)
                for steps in range(1, 4):
                    after, went = self.took(less, host, turn, steps)
                    yield (
                        f"killed after {steps} steps of {said} to {turn.site}",
                        after,
                        replace(host, todo=(), holds=went.holds),
                    )
            return
        if state.builds:
            new = f"v{state.newest + 1}"
            yield (
                f"builds {new}",
                replace(state, newest=state.newest + 1, builds=state.builds - 1),
                replace(host, stored=(*host.stored, new)),
            )
        if state.nights:
            yield "begins a run", replace(state, nights=state.nights - 1), self.planned(state, host)
        if state.promotions:
            less = replace(state, promotions=state.promotions - 1)
            yield "a person promotes", less, self.planned(state, host, promote=True)

    def planned(self, state: Rollout, host: Host, *, promote: bool = False) -> Host:
        """Return a host that has planned a run."""
        puts = {site: _put(site, has, since) for site, has, since in host.puts}
        known = Known(puts=puts, stored=frozenset(host.stored), holds=_holds(host))
        found = self.turns(SITES, host.stored[-1], known, now=_time(state.now), promote=promote)
        asked = [turn for turn in found if turn.before or not promote]
        tasks = {turn.site: [Task(id=turn.site, job=cast(Any, None), reason="")] for turn in asked}
        by_site = {turn.site: turn for turn in asked}
        ordered = tuple(by_site[task.id] for task in pushes.in_order(tasks, asked))
        return replace(host, todo=ordered, promotes=promote, done=frozenset(), runs=host.runs + 1)

    def took(self, state: Rollout, host: Host, turn: Turn, steps: int = 60) -> tuple[Rollout, Host]:
        """Return what is so after a push of a turn, or after its first steps."""
        went, images = _gone_on(host, turn), getattr(state, turn.site)
        holds = _holds(host)
        if (hold := self.to_take_back(in_force(images), turn.version, turn.waits, holds)) is not None:
            return self.taken_back(state, went, turn.site, hold.version, steps)
        if turn.waits:
            return _put_in_order(state, host, turn.site), went
        if turn.before:
            before = {(name, Format.QCOW2): seen(getattr(state, name)) for name in turn.before}
            found = self.passage(turn.version, seen(images), before)
            if found.closed:
                return _put_in_order(state, host, turn.site), went
            if found.ask and turn.version in state.bad and not host.promotes:
                held = replace(went, holds=went.holds | {turn.version})
                return self.taken_back(state, held, "one", turn.version, steps)
        if turn.version in holds:
            return _put_in_order(state, host, turn.site), went
        return self.published(state, went, turn, steps)

    def published(self, state: Rollout, host: Host, turn: Turn, steps: int) -> tuple[Rollout, Host]:
        """Return what is so after a version was published on a site."""
        images, has = getattr(state, turn.site), in_force(getattr(state, turn.site))
        before = any((turn.site, turn.version) == put[:2] for put in host.puts)
        wish = Wish(name=NAME, digests=frozenset({turn.version}), size=1, first_visibility="shared", before=before,
                    properties=version(turn.version), ours=_ours(host), held=host.holds)  # fmt: skip
        after, end = pushed(images, wish, f"{host.name}{host.runs}{turn.site}", steps)
        if in_force(after) == turn.version != has:
            self._check(state, host, turn, has)
        changed = _with(state, turn.site, after)
        return changed, _remembers(host, turn.site, turn.version, state.now) if end is not None and end.same else host

    def _check(self, state: Rollout, host: Host, turn: Turn, has: str) -> None:
        """Check that a version may be published where it is."""
        if (turn.site, turn.version) in state.rolled:
            raise Broken(f"{turn.version} was taken back from {turn.site}, and comes back by itself")
        if turn.site == "two" and not host.promotes:
            if in_force(state.one) != turn.version:
                raise Broken(f"two gets {turn.version}, and one has {in_force(state.one)}")
            if state.now - state.arrived < BAKE:
                raise Broken(f"two gets {turn.version}, which has been on one for {state.now - state.arrived} hours")
            if turn.version in state.bad:
                raise Broken(f"two gets {turn.version}, which is bad")
        baked = any(put[:2] == ("one", has) and state.now - put[2] >= BAKE for put in host.puts)
        fit = has in host.stored and has not in host.holds and in_force(state.two) < has
        if turn.site == "one" and baked and fit and "two" not in host.done:
            raise Broken(f"{turn.version} replaces {has}, which has baked, and two has not got it")

    def taken_back(self, state: Rollout, host: Host, site: str, bad: str, steps: int) -> tuple[Rollout, Host]:
        """Return what is so after a bad version was taken back from a site."""
        images, run = getattr(state, site), f"{host.name}{host.runs}{site}"
        order = Wish(name=NAME, wanted=False, ours=_ours(host), held=host.holds)
        images, end = pushed(images, order, run, steps)
        choice = choose(seen(images), Goal(bad=bad, held=host.holds))
        if choice.target is None or end is None:
            return _with(state, site, images), host
        target = choice.target
        wish = Wish(name=NAME, digests=frozenset({target.sha512}), size=1, recalls=target.id, run=run, insist=True,
                    ours=_ours(host), held=host.holds)  # fmt: skip
        images, end = pushed(images, wish, run, steps)
        after = _with(state, site, images)
        if in_force(images) != target.sha512:
            return after, host
        host = _remembers(host, site, target.sha512, state.now) if end is not None else host
        return replace(after, rolled=after.rolled | {(site, bad)}), host

    def rests(self, state: Rollout) -> bool:
        """Say whether no host is at work."""
        return not any(host.todo for host in state.hosts)

    def settle(self, state: Rollout) -> None:
        """Let one host push on a few nights, undisturbed: what is good is everywhere, and what it found bad nowhere."""
        for host in state.hosts:
            self._settled(state, host)

    def _settled(self, state: Rollout, host: Host) -> None:
        for _ in range(4):
            state = replace(state, now=state.now + 2 * BAKE)
            host = self.planned(state, host)
            while host.todo:
                state, host = self.took(state, host, host.todo[0])
        for site in ("one", "two"):
            images = getattr(state, site)
            if in_force(images) in host.holds:
                raise Broken(f"all is calm, and {site} has {in_force(images)}, which is held")
            if not seen(images).holders:
                raise Broken(f"all is calm, and {site} has no image of the name")
        if len(state.hosts) == 1 and not state.bad and not state.rolled:
            found = {in_force(state.one), in_force(state.two)}
            if found != {host.stored[-1]}:
                raise Broken(f"all is calm, and the sites have {', '.join(sorted(found))}, not {host.stored[-1]}")

    def shown(self, state: Rollout) -> Iterable[str]:
        """Return what the sites have, and what the hosts know."""
        for site in ("one", "two"):
            names = [f"{each.name} {each.sha512}" for each in getattr(state, site)]
            yield f"{site}: {', '.join(names)}"
        yield f"after {state.now} hours; bad: {', '.join(sorted(state.bad)) or 'none'}"
        yield from (f"{host.name} remembers {sorted(host.puts)}, holds {sorted(host.holds)}" for host in state.hosts)


def beginning(
    hosts: str, *, nights: int, builds: int = 0, kills: int = 0, bads: int = 0, promotions: int = 0
) -> Rollout:
    """Return two sites that have the first version, and hosts, a letter each."""
    there = (replace(first("v1"), run="A0"),)
    return Rollout(tuple(map(Host, hosts)), there, there, nights, builds, kills, bads, promotions)


def _put(site: str, has: str, since: int) -> Put:
    return Put(site=site, name=NAME, tag=NAME, arch="amd64", version=has, since=_time(since).timestamp(), seen=0)


def _time(hour: int) -> datetime:
    return datetime(2026, 6, 1, tzinfo=UTC) + timedelta(hours=hour)


def _ours(host: Host) -> Callable[[str], bool]:
    return lambda run: run.startswith(host.name)


def _holds(host: Host) -> dict[str, Hold]:
    return {each: Hold(tag=NAME, arch="amd64", version=each, since=0, why="bad", back=True) for each in host.holds}


def _gone_on(host: Host, turn: Turn) -> Host:
    return replace(host, todo=host.todo[1:], done=host.done | {turn.site})


def _remembers(host: Host, site: str, has: str, now: int) -> Host:
    """Return a host that knows what a site has; a version that is there still is there since it came."""
    if any(put[:2] == (site, has) for put in host.puts):
        return host
    return replace(host, puts=frozenset(put for put in host.puts if put[0] != site) | {(site, has, now)})


def _put_in_order(state: Rollout, host: Host, site: str) -> Rollout:
    order = Wish(name=NAME, wanted=False, ours=_ours(host), held=host.holds)
    images, _ = pushed(getattr(state, site), order, f"{host.name}{host.runs}{site}")
    return _with(state, site, images)


def _with(state: Rollout, site: str, images: Images) -> Rollout:
    """Return everything after a site has changed, with the time at which the first one got what it has."""
    if site == "two":
        return replace(state, two=images)
    since = state.now if in_force(images) != in_force(state.one) else state.arrived
    return replace(state, one=images, arrived=since)
