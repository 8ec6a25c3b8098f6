"""A simulated site, people and hosts, for checking the decisions of `reconcile` in every order of events.

A state is a value: images, hosts with what they know and what is on its way, and how much may still go wrong. `moves`
lists everything that can happen next; each move has a label, so that a path to a broken rule is a list of calls.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cc_images.model.catalog import Retirement
from cc_images.sites.base import Act, Archive, Delete, Describe, Publish, Recall, Restore, Return, Upload, after
from cc_images.sites.entry import Entry, has_archive_name, staged_name
from cc_images.sites.learning import begin, learn, looked, told_use, waited
from cc_images.sites.reconcile import RULES, Step, decide
from cc_images.sites.steps import End, Failure, Look, Members, Use, Wait
from cc_images.sites.view import Memory, View, Wish

NAME = "N"
START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=1)
"""The time at which faults have ended: no upload is young any more."""

SIZE = 1


@dataclass(frozen=True, slots=True)
class Host:
    """A host that pushes what it has built: `nights` says which contents, one a push, or BACK for a rollback."""

    name: str
    nights: tuple[str, ...]
    running: bool = False
    number: int = 0
    seen: tuple[Entry, ...] = ()
    memory: Memory = field(default_factory=Memory)
    step: Step | None = None
    """Decided, and not taken yet."""
    touched: frozenset[tuple[str, int]] = frozenset()
    """What people had touched when it last looked."""
    at_start: frozenset[tuple[str, int]] = frozenset()
    """What they had touched when its push began."""
    held_at_start: frozenset[str] = frozenset()
    """What had been rolled back when its push began."""
    published_at_start: str = ""
    """What was published last when its push began."""
    last: str = ""
    """What it has published last, as its own store remembers."""
    ended: str = ""
    """How its last push ended."""
    target: Entry | None = None
    """The archived image that its rollback is to bring back."""

    @property
    def run(self) -> str:
        return f"{self.name}{self.number}"


@dataclass(frozen=True, slots=True)
class State:
    """Everything."""

    images: tuple[Entry, ...]
    hosts: tuple[Host, ...]
    made: int
    """Images that were ever made; their age."""
    faults: int
    deeds: int
    kills: int
    touched: frozenset[tuple[str, int]] = frozenset()
    """Images that people have named, hidden or put there, each with the number of the last deed."""
    meddled: bool = False
    """Whether a person did anything."""
    two_by_hand: bool = False
    """Whether a person gave the name to a second image."""
    published: str = ""
    """The content that cc-images published last, whoever did."""
    held: frozenset[str] = frozenset()
    """Contents that a rollback has replaced, and none has brought back."""
    used: frozenset[str] = frozenset()
    """Images that servers use; nobody can say whether servers use those in `unknown`."""
    unknown: frozenset[str] = frozenset()
    calm: bool = True
    """Whether no host was killed, or left by an error, since a push ended well."""


BACK = "back"
"""A night on which a host rolls back."""

RETIRE = "retire"
"""A night on which a host carries out the rules for old versions: at once, and for all but those in use."""

Rules = Sequence[Callable[[View], Step | None]]


class Broken(AssertionError):
    """A rule of publishing does not hold."""


def wish(host: Host, now: datetime = START) -> Wish:
    """Return what a host wants tonight."""
    content = host.nights[0]
    if content == RETIRE:
        rules = Retirement(private_after=0, hide_after=0, delete_after=0, keep=0)
        return Wish(name=NAME, wanted=False, retires=rules, now=now, ours=lambda run: run.startswith(host.name))
    if content == BACK:
        assert host.target is not None
        return Wish(
            name=NAME,
            digests=frozenset({host.target.sha512}),
            size=SIZE,
            recalls=host.target.id,
            run=host.run,
            insist=True,
            now=now,
            ours=lambda run: run.startswith(host.name),
        )
    return Wish(
        name=NAME,
        digests=frozenset({content}),
        size=SIZE,
        first_visibility="shared",
        keep=1,
        before=host.last == content,
        now=now,
        ours=lambda run: run.startswith(host.name),
    )


def image(content: str, name: str, age: int, **more: object) -> Entry:
    """Return an image of ours, made in the `age`-th second."""
    given: dict[str, Any] = {"made": True, "made_for": NAME, "run": f"old{age}", "visibility": "shared"} | more
    return Entry(id=f"i{age}", name=name, sha512=content, size=SIZE, created=START + timedelta(seconds=age), **given)


def beginning(
    hosts: Sequence[Host], *, faults: int, deeds: int, kills: int, first: bool = False, use: str = ""
) -> State:
    """Return a site with one published image and one archived before it (`first`: none), and hosts that push to it.

    `use` says of both that servers use them: `used`, `unknown`, or `protected`, or nothing.
    """
    day = f"{START:%Y%m%d}"
    old = (
        image("v0", f"{NAME}-{day}", 0, archives=NAME, successor="v1"),
        image("v1", NAME, 1, replaces="i0"),
    )
    images = () if first else old
    last = "" if first else "v1"
    ready = tuple(replace(host, last=last) for host in hosts)
    ids = frozenset({"i0", "i1"})
    there = tuple(replace(each, protected=use == "protected") for each in images)
    used, unknown = (ids if use == each else frozenset() for each in ("used", "unknown"))
    return State(there, ready, 2, faults, deeds, kills, published=last, used=used, unknown=unknown)


def holders(state: State) -> list[Entry]:
    """Return the images that have the name."""
    return [entry for entry in state.images if entry.name == NAME and entry.complete]


# -- what can happen ---------------------------------------------------------------------------------------------------


def moves(state: State, rules: Rules = RULES) -> Iterator[tuple[str, State]]:
    """Return everything that can happen next, each with its label."""
    for number, host in enumerate(state.hosts):
        for label, after_it in _host_moves(state, host, rules):
            yield f"{host.run or host.name}: {label}", _put_host(after_it, number)
    if state.deeds:
        for label, images, touched in _deeds(state):
            yield f"person: {label}", _after_deed(state, images, touched)


def _put_host(pair: tuple[State, Host], number: int) -> State:
    state, host = pair
    return replace(state, hosts=(*state.hosts[:number], host, *state.hosts[number + 1 :]))


def _host_moves(state: State, host: Host, rules: Rules) -> Iterator[tuple[str, tuple[State, Host]]]:
    if not host.running:
        if host.nights:
            number = host.number + 1
            run = f"{host.name}{number}"
            begun = replace(host, running=True, number=number, at_start=state.touched,
                            published_at_start=state.published, held_at_start=state.held,
                            memory=Memory(ids=(f"{run}a", f"{run}b")))  # fmt: skip
            if host.nights[0] == BACK:
                if (target := back_to(state.images)) is None:
                    quiet = replace(host, nights=host.nights[1:], number=number, ended="nothing to bring back")
                    yield "finds nothing to bring back", (state, quiet)
                    return
                begun = replace(begun, target=target)
            yield f"begins to push {host.nights[0]} and looks", (state, _looks(state, begun, rules))
            if state.faults:
                quiet = replace(host, nights=host.nights[1:], number=number, ended="away")
                yield "finds the site away", (replace(state, faults=state.faults - 1), quiet)
        return
    assert host.step is not None
    if state.kills:
        dead = replace(host, running=False, step=None, nights=host.nights[1:], ended="killed", target=None)
        yield "is killed", (replace(state, kills=state.kills - 1, calm=False), dead)
    yield from _steps(state, host, rules)


def _steps(state: State, host: Host, rules: Rules) -> Iterator[tuple[str, tuple[State, Host]]]:
    """Return how a host that is at work goes on."""
    assert host.step is not None
    assert not isinstance(host.step, Members), "this site shares nothing"
    match host.step:
        case End():
            yield f"ends: {host.step.message or host.step.note or 'well'}", _ends(state, host, host.step)
        case Use(entry=entry):
            count = None if entry.id in state.unknown else int(entry.id in state.used)
            asked = replace(host, memory=told_use(host.memory, entry, count))
            yield f"asks for the use of {entry.id}", (state, _decides(asked, rules))
        case Look():
            yield "looks", (state, _looks(state, host, rules))
        case Wait():
            waiting = replace(host, memory=waited(host.memory))
            yield "waits and looks", (state, _looks(state, waiting, rules))
        case _:
            yield from _acts(state, host, host.step, rules)


def _looks(state: State, host: Host, rules: Rules) -> Host:
    seen = state.images
    memory = looked(wish(host), seen, host.memory)
    return _decides(replace(host, seen=seen, memory=memory, touched=state.touched), rules)


def _decides(host: Host, rules: Rules) -> Host:
    step = decide(wish(host), host.seen, host.memory, rules)
    taken = {entry.name for entry in host.seen if entry.complete}
    match step:
        case Publish() | Restore() if NAME in taken:
            raise Broken(f"{step} gives a name that is taken")
        case Archive() if step.name in taken:
            raise Broken(f"{step} gives a name that is taken")
    view = View(wish(host), host.seen, host.memory)
    ready = (entry for entry in view.staged if entry.complete and view.may(Publish, entry))
    vacancy = not view.holders and any(view.predecessor(entry) for entry in ready)
    if vacancy and not isinstance(step, Publish | Restore | Look | End):
        raise Broken(f"a vacancy of ours is not filled first, but: {_label(step) if isinstance(step, Act) else step}")
    return replace(host, step=step)


def _ends(state: State, host: Host, end: End) -> tuple[State, Host]:
    failed = host.memory.undoing or bool(end.reason)
    kept = not end.same
    content = wanted(host)
    last = host.last if failed or kept or content == RETIRE else content
    ended = "failed" if failed else "kept" if kept else "well"
    done = replace(host, running=False, step=None, nights=host.nights[1:], last=last, ended=ended,
                   memory=Memory(), seen=(), target=None)  # fmt: skip
    if (
        ended == "well"
        and state.calm
        and not state.two_by_hand
        and not any(other.running for other in state.hosts if other != host)
    ):
        _check_order(state, host)
    return replace(state, calm=state.calm and not failed), done


def _check_order(state: State, host: Host) -> None:
    """Check what is so after a push that has ended well, while no other is under way."""
    names = holders(state)
    if len(names) > 1:
        raise Broken(f"{len(names)} images have the name after a push that has ended well")
    if host.nights[0] == RETIRE:
        return
    if len(state.hosts) == 1 and host.touched == state.touched and not (names and names[0].sha512 == wanted(host)):
        raise Broken("a push has ended well, and its image has not the name")


def wanted(host: Host) -> str:
    """Return the content that a host wants to have the name."""
    return host.target.sha512 if host.target is not None else host.nights[0]


def back_to(images: Sequence[Entry]) -> Entry | None:
    """Return the image that a rollback brings back: the newest archived one that is older than the one in force."""
    view = View(Wish(name=NAME, wanted=False), images, Memory())
    holder = view.holder
    older = [each for each in view.archived if holder is not None and each.created < holder.created]
    return older[0] if older else None


def _acts(state: State, host: Host, step: Act, rules: Rules) -> Iterator[tuple[str, tuple[State, Host]]]:
    label = _label(step)
    begun = replace(host, memory=begin(host.memory, step))
    effect, answer = _effect(state, host, step)
    worse = replace(state, faults=state.faults - 1)

    def learns(where: State, answered: Entry | Failure | None) -> tuple[State, Host]:
        seen, memory = learn(wish(host), host.seen, begun.memory, step, answered)
        knows = replace(begun, seen=seen, memory=memory)
        if isinstance(answered, Failure) and not isinstance(step, Delete):
            return where, _looks(where, knows, rules)
        return where, _decides(knows, rules)

    yield label, learns(effect, answer)
    if not state.faults:
        return
    yield f"{label}: lost before it", learns(worse, Failure(temporary=True))
    yield f"{label}: refused", learns(worse, Failure(temporary=False))
    yield f"{label}: done, answer lost", learns(replace(effect, faults=worse.faults), Failure(temporary=True))
    if isinstance(step, Upload):
        for status in ("queued", "saving"):
            half = _upload(state, host, step, status)
            yield f"{label}: broken, {status}", learns(replace(half, faults=worse.faults), Failure(temporary=True))
        bad = _upload(state, host, step, "active", content="damaged")
        yield f"{label}: other bytes arrived", learns(replace(bad, faults=worse.faults), Failure(temporary=False))
    elif state.kills:
        # a call that is still on its way when its host dies
        dead = replace(host, running=False, step=None, nights=host.nights[1:], ended="killed", target=None)
        yield f"{label}: killed after it", (replace(effect, kills=state.kills - 1, calm=False), dead)


def _label(step: Act) -> str:
    kind = type(step).__name__.lower()
    match step:
        case Upload():
            return f"{kind} {step.id}"
        case Archive() | Restore() | Return():
            return f"{kind} {step.entry.id} as {step.name}"
    return f"{kind} {step.entry.id}"


def _effect(state: State, host: Host, step: Act) -> tuple[State, Entry | Failure | None]:
    """Return the site after a step, and the answer: as Glance does it, whatever happened since the host looked."""
    if isinstance(step, Upload):
        changed = _upload(state, host, step, "active")
        return changed, next((entry for entry in changed.images if entry.id == step.id), Failure(temporary=False))
    now = next((entry for entry in state.images if entry.id == step.entry.id), None)
    state = _check_person(state, host, step, now)
    if isinstance(step, Delete):
        if now is None:
            return state, None
        if (now.name, now.archives, now.target) != (step.entry.name, step.entry.archives, step.entry.target):
            return state, Failure(temporary=False)
        if host.nights[0] == RETIRE and step.entry.archives:
            _check_retired(state, step, now)
        return replace(state, images=tuple(entry for entry in state.images if entry != now)), None
    if now is None:
        return state, Failure(temporary=False)
    mine = isinstance(step, Publish) and step.entry.id == host.memory.mine
    if mine and now.sha512 in state.held & host.held_at_start and host.target is None and not state.meddled:
        raise Broken(f"{_label(step)}: a version that was rolled back comes back by itself")
    told = after(step) if not isinstance(step, Describe) else _described(step, now)
    # Glance changes what it is told to change; the rest is as people have made it meanwhile
    name = told.name if told.name != step.entry.name else now.name
    hidden = told.hidden if told.hidden != step.entry.hidden else now.hidden
    merged = replace(told, name=name, hidden=hidden, status=now.status)
    images = tuple(merged if entry.id == merged.id else entry for entry in state.images)
    published = merged.sha512 if isinstance(step, Publish | Restore) else state.published
    if isinstance(step, Archive) and step.entry.sha512 == published:
        published = step.successor
    held = state.held
    if isinstance(step, Publish) and merged.recalled:
        newer = (entry for entry in images if entry.created > merged.created and not entry.target)
        held = held - {merged.sha512} | {entry.sha512 for entry in newer}
    return replace(state, images=images, published=published, held=held), merged


def _described(step: Describe, now: Entry) -> Entry:
    """Return an image with what a description changes, whatever else it is meanwhile."""
    fields = ("hidden", "visibility", "properties", "tags", "owes")
    wanted = {each: getattr(step.wanted, each) for each in fields}
    return replace(now, **{each: value for each, value in wanted.items() if value != getattr(step.entry, each)})


def _check_retired(state: State, step: Delete, now: Entry) -> None:
    """Check that what is deleted because of its age may go."""
    if now.id in state.used | state.unknown:
        raise Broken(f"{_label(step)}: servers use it, or nobody can say")
    if now.protected:
        raise Broken(f"{_label(step)}: it is protected")
    left = [entry for entry in state.images if entry.made and entry.complete and entry.id != now.id]
    good = [entry for entry in left if entry.status == "active" and not entry.target and not entry.hidden]
    if not holders(state) and not good and not state.meddled and now.name != NAME:
        raise Broken(f"{_label(step)}: it is the newest good version")


def _check_person(state: State, host: Host, step: Act, now: Entry | None) -> State:
    """Check that a step takes back nothing that a person did before the host last looked.

    A deed after that look is lost in a site that has no conditions; it is forgotten, so that nobody misses it later.
    """
    deed = next((deed for deed in state.touched if now is not None and deed[0] == now.id), None)
    if isinstance(step, Upload) or now is None or deed is None:
        return state
    if deed not in host.touched:
        return replace(state, touched=state.touched - {deed})
    by_us = has_archive_name(now, NAME)
    if isinstance(step, Delete) and now.name == step.entry.name and not (now.archives and by_us):
        raise Broken(f"{_label(step)} removes what a person has touched")
    staged = bool(now.target) and now.name == staged_name(NAME, now.run)
    if isinstance(step, Archive | Restore | Publish | Recall | Return) and not (now.name == NAME or by_us or staged):
        raise Broken(f"{_label(step)} moves what a person has moved")
    again = host.nights[0] == state.published == host.published_at_start
    if isinstance(step, Archive) and again and deed in host.at_start and now.name == NAME:
        raise Broken(f"{_label(step)} undoes what a person did, without a newer build")
    return state


def _upload(state: State, host: Host, step: Upload, status: str, content: str = "") -> State:
    complete = status == "active"
    age = state.made
    known = next((entry for entry in state.images if entry.id == step.id), None)
    made = known or image("", staged_name(NAME, host.run), age, run=host.run, target=NAME, intended=step.visibility,
                          visibility="private", replaces=step.replaces)  # fmt: skip
    if known is None and step.entry is not None:
        return state  # an id is never used again
    whole = replace(made, id=step.id, status=status, size=SIZE if complete else 0,
                    sha512=(content or host.nights[0]) if complete else "")  # fmt: skip
    others = tuple(entry for entry in state.images if entry.id != step.id)
    return replace(state, images=_sorted(*others, whole), made=age + (known is None))


# -- people ------------------------------------------------------------------------------------------------------------


def _deeds(state: State) -> Iterator[tuple[str, tuple[Entry, ...], str]]:
    """Return what a person may do: the site after it, and the image that was touched."""
    for entry in state.images:
        others = tuple(each for each in state.images if each is not entry)
        yield f"deletes {entry.id} ({entry.name})", others, entry.id
        if not entry.complete:
            continue
        if entry.name == NAME and not entry.hidden:
            yield f"hides {entry.id} ({NAME})", _sorted(*others, replace(entry, hidden=True)), entry.id
        for name in {NAME: (f"{NAME}-bad",), "kept": (NAME,)}.get(entry.name, (NAME, "kept")):
            yield f"renames {entry.id} ({entry.name}) to {name}", _sorted(*others, replace(entry, name=name)), entry.id
    theirs = image("theirs", NAME, state.made, made=False, made_for="", run="")
    yield "uploads an image of the name", _sorted(*state.images, theirs), theirs.id


def _sorted(*images: Entry) -> tuple[Entry, ...]:
    return tuple(sorted(images, key=lambda each: each.id))


def _after_deed(state: State, images: tuple[Entry, ...], touched: str) -> State:
    now = replace(
        state,
        images=images,
        made=state.made + (len(images) > len(state.images)),
        deeds=state.deeds - 1,
        meddled=True,
        touched=frozenset(deed for deed in state.touched if deed[0] != touched) | {(touched, state.deeds)},
    )
    names = holders(now)
    evident = any(state.published in (entry.sha512, entry.successor) for entry in images if entry.made)
    if not evident and all(host.last != state.published for host in state.hosts):
        now = replace(now, published="")  # nothing tells any more that it was ever there
    return replace(now, two_by_hand=(state.two_by_hand or len(names) > 1) and len(names) > 0)


# -- when faults have ended --------------------------------------------------------------------------------------------


def settle(state: State, host_number: int = 0, rules: Rules = RULES) -> None:
    """Let one host push twice, a day later and undisturbed; check that the site is as wanted, or as a person wants it.

    Raises Broken with what is wrong.
    """
    host = state.hosts[host_number]
    content = next((each for each in host.nights if each not in (BACK, RETIRE)), "final")
    for _ in range(2):
        state, host, end = _undisturbed(state, replace(host, nights=(content,), running=False, target=None), rules)
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
    if not end.same or end.note:
        if not state.meddled and content not in state.held:
            raise Broken(f"something is kept for a person that none did: {end.note}")
        return
    if [entry.sha512 for entry in names] != [content]:
        raise Broken("two pushes later the name has not the wanted image")
    left = [entry.name for entry in state.images if entry.name.endswith(".staged")]
    if left:
        raise Broken(f"two pushes later {', '.join(left)} is left")


def _undisturbed(state: State, host: Host, rules: Rules) -> tuple[State, Host, End]:
    number = host.number + 1
    run = f"{host.name}{number}"
    host = replace(host, number=number, memory=Memory(ids=(f"{run}a", f"{run}b")), touched=state.touched)
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
        assert not isinstance(step, Members | Use)
        host = replace(host, memory=memory, seen=seen)
        state, answer = _effect(state, host, step)
        seen, memory = learn(wish(host, LATER), seen, begin(memory, step), step, answer)
        if isinstance(answer, Failure):
            seen, memory = state.images, looked(wish(host, LATER), state.images, memory)
    raise Broken("an undisturbed push takes no end")


# -- exploring ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Explored:
    """How much was looked at."""

    states: int
    moves: int
    ends: int
    """States in which no host was at work, from each of which the site was brought into order."""


def explore(start: State, rules: Rules = RULES, limit: int = 10**9) -> Explored:
    """Visit every state that can be reached, at most `limit`; raise Broken with the calls that break a rule."""
    came: dict[State, tuple[State, str] | None] = {start: None}
    todo: deque[State] = deque([start])
    made, ends = 0, 0
    while todo and len(came) < limit:
        state = todo.popleft()
        try:
            label = ""
            if not any(host.running for host in state.hosts):
                ends += 1
                for number in range(len(state.hosts)):
                    settle(state, number, rules)
            for label, reached in moves(state, rules):
                made += 1
                if reached not in came:
                    came[reached] = state, label
                    todo.append(reached)
        except Broken as broken:
            raise Broken(f"{broken}\n{trace(came, state)}") from broken
    return Explored(len(came), made, ends)


def trace(came: dict[State, tuple[State, str] | None], state: State) -> str:
    """Return how a state was reached, a call a line, and what is there then."""
    lines: list[str] = []
    at: State | None = state
    while at is not None and (step := came[at]) is not None:
        at, label = step
        lines.append(f"  {label}")
    return "\n".join(["after these calls:", *reversed(lines), "the site has:", *map(_shown, state.images)])


def wander(start: State, choose: random.Random, rules: Rules = RULES) -> int:
    """Go one long way at random and bring the site into order at its end; return how many calls it had."""
    state, way = start, [start]
    labels: list[str] = []
    try:
        while found := list(moves(state, rules)):
            label, state = choose.choice(found)
            labels.append(label)
            way.append(state)
        settle(state, choose.randrange(len(state.hosts)), rules)
    except Broken as broken:
        said = "\n".join(["after these calls:", *(f"  {label}" for label in labels), "the site has:",
                          *map(_shown, state.images)])  # fmt: skip
        raise Broken(f"{broken}\n{said}") from broken
    return len(labels)


def _shown(entry: Entry) -> str:
    marks = {name: getattr(entry, name) for name in ("target", "replaces", "turn", "archives", "successor")}
    said = " ".join(f"{name}={value}" for name, value in marks.items() if value)
    whose = "ours" if entry.made else "theirs"
    return f"  {entry.id} {entry.name} {entry.status} {entry.sha512} {whose} {said}{' hidden' if entry.hidden else ''}"
