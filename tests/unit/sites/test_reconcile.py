"""Decisions of publishing: lost answers, kills, people's deeds and two hosts, in every order that seconds allow.

`tests/real/test_reconcile_deep.py` goes deeper.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cc_images.sites import following, recalling, reconcile
from cc_images.sites.base import Archive, Publish, Upload
from cc_images.sites.entry import Entry
from cc_images.sites.reconcile import RULES, Step, decide
from cc_images.sites.steps import End
from cc_images.sites.view import Memory, View, Wish
from tests.conftest import samples
from tests.support.belongings import ASPECTS
from tests.support.exploring import Broken
from tests.support.settling import explore, wander
from tests.support.worlds import BACK, NAME, RETIRE, SIZE, START, Host, beginning, image

A, B = Host("A", ("a",)), Host("B", ("b",))
A_TWICE = Host("A", ("a", "a"))
A_THEN_B = Host("A", ("a", "b"))

Budget = dict[str, Any]

long = pytest.mark.long

SHALLOW: dict[str, tuple[tuple[Host, ...], Budget]] = {
    "one host": ((A,), {"faults": 2, "deeds": 1, "kills": 0}),
    "one host, one fault": ((A,), {"faults": 1, "deeds": 1, "kills": 0}),
    "a rollback, one fault": ((Host("A", (BACK,)),), {"faults": 1, "deeds": 0, "kills": 1}),
    "two hosts that go on": ((A, B), {"faults": 0, "deeds": 0, "kills": 0}),
    "one host that is killed": ((A,), {"faults": 1, "deeds": 1, "kills": 1}),
    "one host that publishes first": ((A,), {"faults": 2, "deeds": 1, "kills": 1, "first": True}),
    "one host, two nights": ((A_TWICE,), {"faults": 1, "deeds": 0, "kills": 1}),
    "a person between two nights": ((A_TWICE,), {"faults": 0, "deeds": 2, "kills": 0}),
    "a rollback": ((Host("A", (BACK,)),), {"faults": 2, "deeds": 1, "kills": 1}),
    "a rollback and the nights after it": ((Host("A", (BACK, "v1", "a")),), {"faults": 1, "deeds": 0, "kills": 1}),
    "a bad night, a rollback, the same again": ((Host("A", ("a", BACK, "a")),), {"faults": 1, "deeds": 0, "kills": 0}),
    "a push beside a rollback": ((A, Host("B", (BACK,))), {"faults": 0, "deeds": 0, "kills": 1}),
    "two rollbacks": ((Host("A", (BACK,)), Host("B", (BACK, "v1"))), {"faults": 0, "deeds": 0, "kills": 1}),
    "a retirement": ((Host("A", (RETIRE,)),), {"faults": 2, "deeds": 1, "kills": 1}),
    "a retirement of what is used": (
        (Host("A", (RETIRE, "a", RETIRE)),),
        {"faults": 0, "deeds": 1, "kills": 0, "use": "used"},
    ),
    "a retirement beside a rollback": (
        (Host("A", (RETIRE,)), Host("B", (BACK,))),
        {"faults": 0, "deeds": 0, "kills": 1, "use": "unknown"},
    ),
    "a retirement beside a push": (
        (Host("A", (RETIRE,)), B),
        {"faults": 0, "deeds": 0, "kills": 1, "use": "protected"},
    ),
    "two hosts": ((A, B), {"faults": 0, "deeds": 0, "kills": 1}),
    "what people put on it": ((A,), {"faults": 0, "deeds": 1, "kills": 1, "aspects": ASPECTS}),
    "what nobody carries over": ((A,), {"faults": 0, "deeds": 1, "kills": 1, "aspects": ASPECTS, "carry": False}),
    "what is configured no more": ((Host("A", ("v1",)),), {"faults": 1, "deeds": 1, "kills": 1, "aspects": ASPECTS}),
    "members that are owed": ((A_THEN_B,), {"faults": 1, "deeds": 0, "kills": 1, "aspects": ("members",)}),
    "a protection that is taken back": (
        (Host("A", ("a", "b", "c")),),
        {"faults": 0, "deeds": 2, "kills": 0, "aspects": ("protected",)},
    ),
    "a rollback of what people put things on": (
        (Host("A", ("a", BACK)),),
        {"faults": 0, "deeds": 1, "kills": 0, "aspects": ASPECTS},
    ),
    "two hosts that publish first": ((A, B), {"faults": 1, "deeds": 0, "kills": 0, "first": True}),
}


LONGEST = (
    "one host", "one host that is killed", "one host that publishes first", "a person between two nights", "a rollback",
    "a push beside a rollback", "two rollbacks", "two hosts", "what people put on it", "members that are owed",
    "two hosts that publish first", "a bad night, a rollback, the same again", "a retirement of what is used",
    "what nobody carries over", "a protection that is taken back", "a rollback of what people put things on",
)  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(each, marks=long if each in LONGEST else ()) for each in SHALLOW])
def test_the_rules_hold_in_every_order_of_events(name: str) -> None:
    hosts, budget = SHALLOW[name]
    explored = explore(beginning(hosts, **budget))
    assert explored.ends > 20, "many ways end"


def chances(seed: int) -> tuple[random.Random, tuple[Host, ...], Budget]:
    """Return a source of chance, hosts with some nights, and what may go wrong."""
    chance = random.Random(seed)
    mine = tuple(f"a{night}" for night in range(chance.randrange(1, 4)) for _ in range(chance.randrange(1, 3)))
    other = tuple(f"b{night}" for night in range(chance.randrange(0, 3)))
    mine, other = (tuple(another(chance, night) for night in nights) for nights in (mine, other))
    budget: Budget = {"faults": chance.randrange(6), "deeds": chance.randrange(5), "kills": chance.randrange(3)}
    budget |= {"first": chance.random() < 0.2}
    if seed % 4 == 3:
        budget |= {"aspects": ASPECTS, "first": False, "faults": chance.randrange(4)}
    return chance, (Host("A", mine), Host("B", other)), budget | {"use": chance.choice(["", "used", "unknown"])}


def another(chance: random.Random, night: str) -> str:
    """Return a night, or in its place one of a rollback or a retirement."""
    return chance.choices([night, BACK, RETIRE], [6, 2, 1])[0]


def wandered(seed: int) -> int:
    """Go the long way of a seed; return how many calls it had."""
    chance, hosts, budget = chances(seed)
    try:
        return wander(beginning(hosts, **budget), chance)
    except Broken as broken:
        raise Broken(f"seed {seed}: {broken}") from None


def test_the_rules_hold_on_long_random_ways() -> None:
    ways = samples(50, 300)
    assert sum(wandered(seed) for seed in range(ways)) > 10 * ways


def put_on(aspect: str) -> Budget:
    """Return a budget of one deed that changes an aspect."""
    return {"faults": 0, "deeds": 1, "kills": 0, "aspects": (aspect,)}


PLANTED: dict[Callable[[View], Step | None], tuple[tuple[Host, ...], Budget, str]] = {
    reconcile.one_has_the_name: ((A, B), {"faults": 0, "deeds": 0, "kills": 0}, "2 images have the name"),
    reconcile.a_change_by_hand_stands: ((A_TWICE,), {"faults": 0, "deeds": 2, "kills": 0}, "undoes what a person did"),
    reconcile.what_dead_runs_left_is_removed: ((A,), {"faults": 0, "deeds": 0, "kills": 1}, "staged is left"),
    reconcile.a_vacancy_of_ours_is_filled: ((A_TWICE,), {"faults": 0, "deeds": 0, "kills": 1}, "not filled first"),
    recalling.a_rollback_stands: (
        (Host("A", (BACK, "v1")),),
        {"faults": 0, "deeds": 0, "kills": 0},
        "comes back by itself",
    ),
    following.its_members_follow: (
        (A,),
        {"faults": 0, "deeds": 0, "kills": 0, "aspects": ("members",)},
        "members must be p1",
    ),
    following.its_tags_leave_the_old_one: ((A,), put_on("tags"), "was archived, and has tags"),
    following.it_gets_the_visibility_of_the_old_one: ((A,), put_on("visibility"), "visibility must be community"),
    following.it_gets_properties_of_the_old_one: ((A,), put_on("properties"), r"properties must be \('x', '1'\)"),
    following.it_gets_the_owner_of_the_old_one: ((A,), put_on("owner"), "owner must be theirs"),
    following.it_is_described: ((Host("A", ("v1",)),), put_on("tags"), "of what is configured"),
    reconcile.a_swap_is_looked_at: ((A,), {"faults": 0, "deeds": 1, "kills": 0}, "2 images have the name"),
}


PLANTED_RULES = [
    pytest.param(rule, marks=long if rule is reconcile.a_change_by_hand_stands else (), id=rule.__name__)
    for rule in PLANTED
]


@pytest.mark.parametrize("rule", PLANTED_RULES)
def test_a_rule_that_is_missing_is_found_out(rule: Callable[[View], Step | None]) -> None:
    hosts, budget, said = PLANTED[rule]
    rules = [each for each in RULES if each is not rule]
    with pytest.raises(Broken, match=said) as caught:
        explore(beginning(hosts, **budget), rules)
    assert "after these calls:\n" in str(caught.value)


# -- single decisions -------------------------------------------------------------------------------------------------

MEMORY = Memory(ids=("m1", "m2"))
OLD = image("old", NAME, 1)
WISH = Wish(name=NAME, digests=frozenset({"new"}), size=SIZE, now=START, first_visibility="shared")


def test_the_first_publication_uploads_and_then_takes_the_name() -> None:
    step = decide(WISH, [], MEMORY)
    assert step == Upload(id="m1", visibility="shared", replaces="")
    mine = image("new", f"{NAME}.r.staged", 2, run="r", target=NAME)
    memory = replace(MEMORY, sent=1, mine=mine.id)
    assert decide(WISH, [mine], memory) == Publish(entry=mine, before=None, turn=1)


def test_an_archive_name_that_somebody_has_is_not_taken() -> None:
    theirs = image("x", f"{NAME}-20260101", 0, made=False, run="")
    mine = image("new", f"{NAME}.r.staged", 2, run="r", target=NAME)
    step = decide(WISH, [OLD, theirs, mine], replace(MEMORY, sent=1, mine=mine.id))
    assert isinstance(step, Archive)
    assert step.name == f"{NAME}-20260101.1"


def kept(seen: list[Entry], **more: object) -> bool:
    """Say whether a push leaves the site as it is, for a person."""
    step = decide(replace(WISH, **more), seen, MEMORY)  # type: ignore[arg-type]
    return isinstance(step, End) and bool(step.note) and not step.same


THEIRS = image("theirs", NAME, 5, made=False, made_for="", run="")
VERSION = {"build-version": "20260101T000000Z"}
"""That of the wanted build: the holder has it too, in another format."""
ASIDE = image("new", f"{NAME}-bad", 4)


@pytest.mark.parametrize(
    ("seen", "more", "stands"),
    [
        ([THEIRS], {}, False),
        ([THEIRS, ASIDE], {}, True),
        ([THEIRS, ASIDE], {"insist": True}, False),
        ([THEIRS, replace(ASIDE, sha512="another")], {}, False),
        ([replace(OLD, archives=NAME), ASIDE], {}, True),
        ([replace(OLD, archives=NAME, successor="new")], {}, True),
        ([replace(OLD, archives=NAME, successor="other")], {}, False),
        ([OLD], {"before": True}, True),
        ([replace(OLD, properties=VERSION)], {"before": True, "properties": VERSION}, False),
        ([OLD], {}, False),
        ([], {"before": True}, True),
        ([], {}, False),
        ([], {"before": True, "insist": True}, False),
    ],
)
def test_a_change_by_hand_stands_until_a_newer_build(seen: list[Entry], more: dict[str, object], stands: bool) -> None:
    assert kept(seen, **more) == stands


def test_an_older_build_that_serves_again_is_published() -> None:
    """The configuration went back, so an archived build is wanted again: nobody has changed the site by hand."""
    archived = image("new", f"{NAME}-20260101", 0, archives=NAME, successor="old")
    assert isinstance(decide(WISH, [OLD, archived], MEMORY), Upload)


def test_the_same_bytes_again_take_the_place_of_the_image_before_them_not_of_one_long_ago() -> None:
    long_ago = image("x", f"{NAME}-20260101", 1, archives=NAME, successor="new", turn=1)
    between = image("new", f"{NAME}-20260101.1", 2, archives=NAME, successor="y", turn=2)
    before = image("y", f"{NAME}-20260101.2", 3, archives=NAME, successor="new", turn=3)
    again = image("new", f"{NAME}.r.staged", 4, run="r", target=NAME, replaces=before.id)
    view = View(WISH, [long_ago, between, before, again], MEMORY)
    assert view.predecessor(again) is before
    withdrawn = replace(before, name="kept", archives="", successor="")
    assert View(WISH, [long_ago, between, withdrawn, again], MEMORY).predecessor(again) is None, "a person's vacancy"


def test_who_had_the_name_during_an_upload_is_what_it_replaces() -> None:
    """Another host published meanwhile: what people put on that image must follow, not what was on the one before."""
    before = image("x", f"{NAME}-20260101", 1, archives=NAME, successor="between", turn=1)
    between = image("between", f"{NAME}-20260101.1", 2, archives=NAME, successor="new", turn=2, replaces=before.id)
    mine = image("new", f"{NAME}.r.staged", 3, run="r", target=NAME, replaces=before.id)
    assert View(WISH, [before, between, mine], MEMORY).predecessor(mine) is between


@pytest.mark.parametrize("status", ["queued", "saving"])
def test_an_orphan_that_lost_its_marks_is_known_by_its_name(status: str) -> None:
    orphan = image("", f"{NAME}.r7.staged", 3, made=False, made_for="", run="", status=status, visibility="private")
    orphan = replace(orphan, size=0)
    view = View(WISH, [OLD, orphan], MEMORY)
    assert view.staged == [orphan]
    assert view.run_of(orphan) == "r7"
    assert View(WISH, [replace(orphan, status="active", size=5)], MEMORY).staged == [], "it has bytes: a person's"


def test_two_of_one_name_by_hand_are_refused() -> None:
    step = decide(WISH, [OLD, THEIRS], MEMORY)
    assert isinstance(step, End)
    assert (step.reason, OLD.id in step.message, THEIRS.id in step.message) == ("ambiguous", True, True)
