"""Retirement: what becomes of old versions, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cc_images.model.catalog import Format, Retirement
from cc_images.model.site import Site
from cc_images.sites.base import Delete, Describe
from cc_images.sites.entry import Entry
from cc_images.sites.glance import GlanceSite
from cc_images.sites.reconcile import decide
from cc_images.sites.retiring import calendar, replaced_on
from cc_images.sites.steps import End, Use
from cc_images.sites.view import Memory, View, Wish

DAY = 86_400
NOW = datetime(2026, 11, 29, tzinfo=UTC)
RULES = Retirement(private_after=0, hide_after=30 * DAY, delete_after=60 * DAY, keep=1)


def version(days: int, **more: object) -> Entry:
    """Return an archived version that was made so many days ago."""
    made = NOW - timedelta(days=days)
    plain = Entry(
        id=f"i{days}", name=f"N-{made:%Y%m%d}", sha512=f"s{days}", size=1, created=made, made=True, archives="N",
        visibility="public", properties={"build-version": f"{made:%Y%m%dT%H%M%SZ}"},
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


HOLDER = version(1, name="N", archives="")
SEEN = [HOLDER, version(20), version(50), version(120)]


def wish(**more: object) -> Wish:
    plain = Wish(name="N", wanted=False, retires=RULES, now=NOW)
    return replace(plain, **more)  # type: ignore[arg-type]


def told(seen: list[Entry], **more: object) -> list[tuple[str, str, int, str]]:
    """Return the calendar: image, fate, in how many days, and why it stays."""
    view = View(wish(**more), seen, Memory())
    return [(due.entry.id, due.fate, (due.when - NOW).days, due.stays) for due in calendar(view)]


def test_age_counts_from_the_day_on_which_a_version_was_replaced() -> None:
    view = View(wish(), SEEN, Memory())
    replaced = [replaced_on(view, entry) for entry in SEEN[1:]]
    assert [(NOW - when).days for when in replaced if when is not None] == [1, 20, 50]
    assert replaced_on(view, HOLDER) is None
    assert told(SEEN) == [
        ("i120", "private", -50, ""),
        ("i120", "hidden", -20, ""),
        ("i120", "deleted", 10, ""),
        ("i50", "private", -20, ""),
        ("i50", "hidden", 10, ""),
        ("i50", "deleted", 40, ""),
    ], "the newest archived one stays as it is"


def test_a_version_that_was_rolled_back_to_counts_from_when_it_was_replaced_again() -> None:
    good = version(700, turn=3, recalled=True, run="20250110T000000Z-host")
    bad = version(690, turn=2)
    third, holder = version(2, turn=4), replace(HOLDER, turn=5)
    view = View(wish(), [good, bad, third, holder], Memory())
    assert replaced_on(view, bad) == datetime(2025, 1, 10, tzinfo=UTC), "by the rollback"
    assert replaced_on(view, good) == third.created, "not by the bad one, which came after it first"
    assert replaced_on(view, third) == holder.created


@pytest.mark.parametrize(
    ("change", "more", "fates"),
    [
        ({"protected": True}, {}, {"private": "", "hidden": "", "deleted": "protected"}),
        ({"visibility": ""}, {}, {"deleted": ""}),
        ({"properties": {"build-retired": "private 2026-10-01"}}, {}, {"hidden": "", "deleted": ""}),
        ({"properties": {"build-retired": "hidden 2026-10-01"}}, {}, {"deleted": ""}),
        ({"made": False}, {}, {}),
        ({"name": "N-kept"}, {}, {}),
        ({}, {"retires": replace(RULES, keep=2)}, {}),
        ({}, {"retires": replace(RULES, delete_after=None, private_after=None)}, {"hidden": ""}),
    ],
)
def test_what_an_image_is_spared(change: dict[str, object], more: dict[str, object], fates: dict[str, str]) -> None:
    seen = [HOLDER, version(20), version(50, **change)]
    assert {fate: stays for _, fate, _, stays in told(seen, **more)} == fates


@pytest.mark.parametrize(
    ("holder", "held"),
    [
        (replace(HOLDER, hidden=True), frozenset()),
        (replace(HOLDER, status="deactivated"), frozenset()),
        (HOLDER, frozenset({HOLDER.properties["build-version"]})),
        (None, frozenset()),
    ],
)
def test_the_newest_good_version_stays(holder: Entry | None, held: frozenset[str]) -> None:
    rules = replace(RULES, keep=0)
    seen = [*([holder] if holder is not None else []), version(50), version(120)]
    found = {(entry, fate): stays for entry, fate, _, stays in told(seen, retires=rules, held=held)}
    assert found.get(("i50", "deleted")) == ("the newest good version" if holder is not None else None)
    assert found["i120", "deleted"] == ""


def test_who_uses_an_image_is_asked_before_it_is_deleted() -> None:
    old = version(200, visibility="private", hidden=True)
    seen = [HOLDER, version(100, visibility="private", hidden=True), old]
    assert decide(wish(), seen, Memory()) == Use(entry=old)
    assert decide(wish(), seen, Memory(uses=((old.id, 0),))) == Delete(entry=old)
    assert decide(wish(), seen, Memory(uses=((old.id, 3),))) == End()
    assert decide(wish(), seen, Memory(uses=((old.id, None),))) == End()


def test_an_image_past_its_end_of_life_is_hidden_once() -> None:
    rules = replace(RULES, ended="2026-06-30")
    step = decide(wish(retires=rules), [HOLDER], Memory())
    assert isinstance(step, Describe)
    assert step.wanted.hidden
    assert step.wanted.properties["build-end-of-life"] == "2026-06-30"
    shown_again = replace(step.wanted, hidden=False)
    assert decide(wish(retires=rules), [shown_again], Memory()) == End(), "a person has the last word"


def test_an_image_that_has_its_name_again_is_shown() -> None:
    hidden = replace(HOLDER, hidden=True, properties={**HOLDER.properties, "build-retired": "hidden 2026-11-28"})
    step = decide(Wish(name="N", wanted=False, now=NOW), [hidden], Memory())
    assert step == Describe(entry=hidden, wanted=HOLDER)


@pytest.mark.parametrize(
    "half", [{"disk_format": "ari"}, {"disk_format": "raw", "properties": {"kernel_id": "i2"}}, {"disk_format": "aki"}]
)
def test_nobody_says_who_uses_a_ramdisk(half: dict[str, Any]) -> None:
    site = GlanceSite(Site(name="s", cloud="no such cloud"), Format.KERNEL)
    assert site.users(Entry(id="i1", name="N.kernel", sha512="", size=1, created=datetime.now(UTC), **half)) is None
