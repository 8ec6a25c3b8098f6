"""The simulated site of `worlds` once faults have ended, and the ways to everything that can happen before that."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cc_images.sites.entry import Entry
from cc_images.sites.learning import begin, learn, looked, waited
from cc_images.sites.reconcile import RULES, decide
from cc_images.sites.steps import End, Failure, Look, Members, Use, Wait
from cc_images.sites.view import Memory
from tests.support import belongings, exploring, worlds
from tests.support.exploring import Broken, Explored
from tests.support.worlds import BACK, LATER, RETIRE, Host, Rules, State, asked, effect, holders, wanted, wish


@dataclass(frozen=True, slots=True)
class World:
    """The site, with the rules by which hosts decide."""

    rules: Rules = RULES

    def moves(self, state: State) -> Iterator[tuple[str, State]]:
        """Return everything that can happen next."""
        return worlds.moves(state, self.rules)

    def rests(self, state: State) -> bool:
        """Say whether no host is at work."""
        return not any(host.running for host in state.hosts)

    def settle(self, state: State) -> None:
        """Let each host, alone, bring the site into order."""
        for number in range(len(state.hosts)):
            settle(state, number, self.rules)

    def shown(self, state: State) -> Iterable[str]:
        """Return the images."""
        return map(_shown, state.images)


def explore(start: State, rules: Rules = RULES) -> Explored:
    """Visit every state that can be reached; raise Broken with the calls that break a rule."""
    return exploring.explore(World(rules), start)


def wander(start: State, choose: random.Random, rules: Rules = RULES) -> int:
    """Go one long way at random, and let one host bring the site into order; return how many calls it had."""

    def one(state: State) -> None:
        settle(state, choose.randrange(len(state.hosts)), rules)

    return exploring.wander(World(rules), start, choose, one)


def settle(state: State, host_number: int = 0, rules: Rules = RULES) -> None:
    """Let one host push twice, a day later and undisturbed; check that the site is as wanted, or as a person wants it.

    Raises Broken with what is wrong.
    """
    host = state.hosts[host_number]
    content = next((each for each in host.nights if each not in (BACK, RETIRE)), "final")
    for _ in range(2):
        state, host, end = _undisturbed(state, replace(host, nights=(content,), running=False, target=None), rules)
    _check(state, end, content)


def _check(state: State, end: End, content: str) -> None:
    names = holders(state)
    if len(names) > 1:
        touched = {deed[0] for deed in state.touched}
        ours = [entry for entry in names if entry.made and not (entry.archives or entry.target)]
        if len(ours) == len(names) and not state.two_by_hand and touched.isdisjoint(entry.id for entry in names):
            raise Broken(f"{len(names)} images have the name for good")
        return
    if end.reason == "ambiguous":
        return
    if end.reason:
        raise Broken(f"two pushes later the site is not in order: {end.message or end.reason}")
    if state.aspects and end.same and names and (lacks := _lacks(state, names[0])):
        raise Broken(f"two pushes later {lacks}")
    if not end.same or end.note:
        if not state.meddled and content not in state.held:
            raise Broken(f"something is kept for a person that none did: {end.note}")
        return
    if [entry.sha512 for entry in names] != [content]:
        raise Broken("two pushes later the name has not the wanted image")
    left = [entry.name for entry in state.images if entry.name.endswith(".staged")]
    if left:
        raise Broken(f"two pushes later {', '.join(left)} is left")


def _lacks(state: State, holder: Entry) -> str:
    return belongings.wrong(state.stood, holder, state.members, state.images)


def _undisturbed(state: State, host: Host, rules: Rules) -> tuple[State, Host, End]:
    number = host.number + 1
    run = f"{host.name}{number}"
    host = replace(host, number=number, memory=Memory(ids=(f"{run}a", f"{run}b")), touched=state.touched,
                   deeds_seen=state.put)  # fmt: skip
    seen, memory = state.images, looked(wish(host, LATER), state.images, host.memory)
    for _ in range(60):
        step = decide(wish(host, LATER), seen, memory, rules)
        if isinstance(step, End):
            failed = memory.undoing or bool(step.reason)
            last = wanted(host) if not failed and step.same else host.last
            return state, replace(host, last=last), step
        if isinstance(step, Look | Wait):
            seen, memory = state.images, looked(wish(host, LATER), state.images, waited(memory))
            continue
        if isinstance(step, Members):
            memory = asked(state, replace(host, memory=memory), step.entry).memory
            continue
        assert not isinstance(step, Use)
        host = replace(host, memory=memory, seen=seen)
        state, answer = effect(state, host, step)
        seen, memory = learn(wish(host, LATER), seen, begin(memory, step), step, answer)
        if isinstance(answer, Failure):
            seen, memory = state.images, looked(wish(host, LATER), state.images, memory)
    raise Broken("an undisturbed push takes no end")


def _shown(entry: Entry) -> str:
    marks = {name: getattr(entry, name) for name in ("target", "replaces", "turn", "archives", "successor")}
    said = " ".join(f"{name}={value}" for name, value in marks.items() if value)
    whose = "ours" if entry.made else "theirs"
    return f"{entry.id} {entry.name} {entry.status} {entry.sha512} {whose} {said}{' hidden' if entry.hidden else ''}"
