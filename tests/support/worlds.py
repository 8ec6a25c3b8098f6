"""A simulated site, people and hosts, for checking the decisions of `reconcile` in every order of events.

A state is a value: images, hosts with what they know and what is on its way, and how much may still go wrong. `moves`
lists everything that can happen next; each move has a label, so that a path to a broken rule is a list of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cc_images.model.catalog import Retirement
from cc_images.sites.base import Act, Archive, Delete, Publish, Recall, Restore, Return, Share, Upload, after
from cc_images.sites.entry import Entry, has_archive_name, staged_name
from cc_images.sites.learning import begin, learn, looked, told_members, told_use, waited
from cc_images.sites.reconcile import RULES, Step, decide
from cc_images.sites.steps import End, Failure, Look, Members, Use, Wait
from cc_images.sites.view import Memory, View, Wish
from tests.support import belongings
from tests.support.belongings import Deed, Stood
from tests.support.exploring import Broken

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
    shares: bool = False
    """Whether the site shares images, and properties are configured."""
    carry: bool = True
    """Whether a new version gets what others have put on the one before it."""
    deeds_seen: frozenset[Deed] = frozenset()
    """What people had put on images when it last looked."""

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
    aspects: tuple[str, ...] = ()
    """What people change on the image that has the name, in place of names."""
    put: frozenset[Deed] = frozenset()
    """Their last change of each aspect."""
    stood: Stood = field(default_factory=Stood)
    """What the image that has the name must have in the end."""
    members: frozenset[tuple[str, str]] = frozenset()
    """Images with projects that they are shared with."""
    calm: bool = True
    """Whether no host was killed, or left by an error, since a push ended well."""


BACK = "back"
"""A night on which a host rolls back."""

RETIRE = "retire"
"""A night on which a host carries out the rules for old versions: at once, and for all but those in use."""

Rules = Sequence[Callable[[View], Step | None]]


def wish(host: Host, now: datetime = START) -> Wish:
    """Return what a host wants tonight."""
    content = host.nights[0]
    always: dict[str, Any] = {"now": now, "shares": host.shares, "carry": host.carry,
                              "ours": lambda run: run.startswith(host.name)}  # fmt: skip
    if content == RETIRE:
        rules = Retirement(private_after=0, hide_after=0, delete_after=0, keep=0)
        return Wish(name=NAME, wanted=False, retires=rules, **always)
    if content == BACK:
        assert host.target is not None
        return Wish(
            name=NAME,
            digests=frozenset({host.target.sha512}),
            size=SIZE,
            recalls=host.target.id,
            run=host.run,
            insist=True,
            **always,
        )
    return Wish(
        name=NAME,
        digests=frozenset({content}),
        size=SIZE,
        first_visibility="shared",
        keep=1,
        before=host.last == content,
        properties=belongings.configured(content) if host.shares else {},
        **always,
    )


def image(content: str, name: str, age: int, **more: object) -> Entry:
    """Return an image of ours, made in the `age`-th second."""
    given: dict[str, Any] = {"made": True, "made_for": NAME, "run": f"old{age}", "visibility": "shared"} | more
    return Entry(id=f"i{age}", name=name, sha512=content, size=SIZE, created=START + timedelta(seconds=age), **given)


def beginning(
    hosts: Sequence[Host],
    *,
    faults: int,
    deeds: int,
    kills: int,
    first: bool = False,
    use: str = "",
    aspects: tuple[str, ...] = (),
    carry: bool = True,
) -> State:
    """Return a site with one published image and one archived before it (`first`: none), and hosts that push to it.

    `use` says of both that servers use them: `used`, `unknown`, or `protected`, or nothing. With `aspects` people leave
    names alone, and change these of the image that has the name; it is shared with a project then.
    """
    day = f"{START:%Y%m%d}"
    old: tuple[Entry, ...] = (
        image("v0", f"{NAME}-{day}", 0, archives=NAME, successor="v1"),
        image("v1", NAME, 1, replaces="i0"),
    )
    last = "" if first else "v1"
    if aspects:
        old = tuple(replace(each, owner="ours", properties=belongings.before(each.sha512)) for each in old)
    images = () if first else tuple(old)
    ready = tuple(replace(host, last=last, shares=bool(aspects), carry=carry) for host in hosts)
    ids = frozenset({"i0", "i1"})
    there = tuple(replace(each, protected=use == "protected") for each in images)
    used, unknown = (ids if use == each else frozenset() for each in ("used", "unknown"))
    members = frozenset({("i1", "p1")}) if aspects and not first else frozenset()
    stood = Stood() if members else Stood(members=frozenset())
    return State(there, ready, 2, faults, deeds, kills, published=last, used=used, unknown=unknown, aspects=aspects,
                 members=members, stood=stood)  # fmt: skip


def holders(state: State) -> list[Entry]:
    """Return the images that have the name."""
    return [entry for entry in state.images if entry.name == NAME and entry.complete]


# -- what can happen ---------------------------------------------------------------------------------------------------


def moves(state: State, rules: Rules = RULES) -> Iterator[tuple[str, State]]:
    """Return everything that can happen next, each with its label."""
    for number, host in enumerate(state.hosts):
        for label, after_it in _host_moves(state, host, rules):
            yield f"{host.run or host.name}: {label}", _put_host(after_it, number)
    if state.deeds and state.aspects:
        yield from _changes(state)
    elif state.deeds:
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
    match host.step:
        case End():
            yield f"ends: {host.step.message or host.step.note or 'well'}", _ends(state, host, host.step)
        case Use(entry=entry):
            count = None if entry.id in state.unknown else int(entry.id in state.used)
            told = replace(host, memory=told_use(host.memory, entry, count))
            yield f"asks for the use of {entry.id}", (state, _decides(told, rules))
        case Members(entry=entry):
            yield f"asks for the members of {entry.id}", (state, _decides(asked(state, host, entry), rules))
            if state.faults:
                silent = replace(host, memory=told_members(host.memory, entry, None))
                yield f"asks for the members of {entry.id}: no answer", (_less(state), _decides(silent, rules))
        case Look():
            yield "looks", (state, _looks(state, host, rules))
        case Wait():
            waiting = replace(host, memory=waited(host.memory))
            yield "waits and looks", (state, _looks(state, waiting, rules))
        case _:
            yield from _acts(state, host, host.step, rules)


def _less(state: State) -> State:
    return replace(state, faults=state.faults - 1)


def asked(state: State, host: Host, entry: Entry) -> Host:
    """Return a host that has asked which projects an image is shared with."""
    projects = frozenset(project for id, project in state.members if id == entry.id)
    return replace(host, memory=told_members(host.memory, entry, projects))


def _looks(state: State, host: Host, rules: Rules) -> Host:
    seen = state.images
    memory = looked(wish(host), seen, host.memory)
    return _decides(replace(host, seen=seen, memory=memory, touched=state.touched, deeds_seen=state.put), rules)


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
    done, answer = effect(state, host, step)
    worse = _less(state)

    def learns(where: State, answered: Entry | Failure | None) -> tuple[State, Host]:
        seen, memory = learn(wish(host), host.seen, begun.memory, step, answered)
        if memory.refused != begun.memory.refused:
            where = replace(where, stood=belongings.refused(where.stood, step))
        knows = replace(begun, seen=seen, memory=memory)
        if isinstance(answered, Failure) and not isinstance(step, Delete):
            return where, _looks(where, knows, rules)
        return where, _decides(knows, rules)

    yield label, learns(done, answer)
    if not state.faults:
        return
    yield f"{label}: lost before it", learns(worse, Failure(temporary=True))
    yield f"{label}: refused", learns(worse, Failure(temporary=False))
    yield f"{label}: done, answer lost", learns(replace(done, faults=worse.faults), Failure(temporary=True))
    if isinstance(step, Upload):
        for status in ("queued", "saving"):
            half = _upload(state, host, step, status)
            yield f"{label}: broken, {status}", learns(replace(half, faults=worse.faults), Failure(temporary=True))
        bad = _upload(state, host, step, "active", content="damaged")
        yield f"{label}: other bytes arrived", learns(replace(bad, faults=worse.faults), Failure(temporary=False))
    elif state.kills:
        # a call that is still on its way when its host dies
        dead = replace(host, running=False, step=None, nights=host.nights[1:], ended="killed", target=None)
        yield f"{label}: killed after it", (replace(done, kills=state.kills - 1, calm=False), dead)


def _label(step: Act) -> str:
    kind = type(step).__name__.lower()
    match step:
        case Upload():
            return f"{kind} {step.id}"
        case Archive() | Restore() | Return():
            return f"{kind} {step.entry.id} as {step.name}"
    return f"{kind} {step.entry.id}"


def effect(state: State, host: Host, step: Act) -> tuple[State, Entry | Failure | None]:
    """Return the site after a step, and the answer: as Glance does it, whatever happened since the host looked."""
    if isinstance(step, Upload):
        changed = _upload(state, host, step, "active")
        return changed, next((entry for entry in changed.images if entry.id == step.id), Failure(temporary=False))
    state = _what_stands(state, host, step)
    now = next((entry for entry in state.images if entry.id == step.entry.id), None)
    state = _check_person(state, host, step, now)
    if isinstance(step, Delete):
        return _deleted(state, host, step, now)
    if now is None:
        return state, Failure(temporary=False)
    mine = isinstance(step, Publish) and step.entry.id == host.memory.mine
    if mine and now.sha512 in state.held & host.held_at_start and host.target is None and not state.meddled:
        raise Broken(f"{_label(step)}: a version that was rolled back comes back by itself")
    if isinstance(step, Share):
        return replace(state, members=state.members | {(now.id, step.project)}), step.entry
    merged = belongings.merged(step.entry, after(step), now)
    images = tuple(merged if entry.id == merged.id else entry for entry in state.images)
    published = merged.sha512 if isinstance(step, Publish | Restore) else state.published
    if isinstance(step, Archive) and step.entry.sha512 == published:
        published = step.successor
    held = state.held
    if isinstance(step, Publish) and merged.recalled:
        newer = (entry for entry in images if entry.created > merged.created and not entry.target)
        held = held - {merged.sha512} | {entry.sha512 for entry in newer}
    return replace(state, images=images, published=published, held=held), merged


def _deleted(state: State, host: Host, step: Delete, now: Entry | None) -> tuple[State, Failure | None]:
    if now is None:
        return state, None
    if (now.name, now.archives, now.target) != (step.entry.name, step.entry.archives, step.entry.target):
        return state, Failure(temporary=False)
    if host.nights[0] == RETIRE and step.entry.archives:
        _check_retired(state, step, now)
    if now.protected:
        raise Broken(f"{_label(step)}: it is protected")
    return replace(state, images=tuple(entry for entry in state.images if entry != now)), None


def _what_stands(state: State, host: Host, step: Act) -> State:
    """Return the site with what must stand in the end after a step."""
    if not state.aspects or isinstance(step, Upload):
        return state
    unseen = {deed.aspect for deed in state.put - host.deeds_seen}
    several = len(holders(state)) > 1
    contested = {deed.aspect for deed in state.put if several and deed.id == step.entry.id}
    return replace(state, stood=belongings.after_step(state.stood, step, unseen, contested))


def _check_retired(state: State, step: Delete, now: Entry) -> None:
    """Check that what is deleted because of its age may go."""
    if now.id in state.used | state.unknown:
        raise Broken(f"{_label(step)}: servers use it, or nobody can say")
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
                          visibility="private", replaces=step.replaces, **_configured(host))  # fmt: skip
    if known is None and step.entry is not None:
        return state  # an id is never used again
    whole = replace(made, id=step.id, status=status, size=SIZE if complete else 0,
                    sha512=(content or host.nights[0]) if complete else "")  # fmt: skip
    others = tuple(entry for entry in state.images if entry.id != step.id)
    return replace(state, images=_sorted(*others, whole), made=age + (known is None))


def _configured(host: Host) -> dict[str, Any]:
    return {"owner": "ours", "properties": belongings.configured(host.nights[0])} if host.shares else {}


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


def _changes(state: State) -> Iterator[tuple[str, State]]:
    """Return what a person may change on the image that has the name."""
    if len(found := holders(state)) != 1:
        return
    for aspect, entry, members in belongings.changes(found[0], state.members, state.aspects):
        others = (each for each in state.images if each.id != entry.id)
        put = {deed for deed in state.put if deed.aspect != aspect} | {Deed(aspect, entry.id, state.deeds)}
        stood = belongings.after_deed(state.stood, aspect, entry, members)
        yield (
            f"person: changes {aspect} of {entry.id}",
            replace(state, images=_sorted(*others, entry), members=members, put=frozenset(put), stood=stood,
                    deeds=state.deeds - 1, meddled=True),
        )  # fmt: skip


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
