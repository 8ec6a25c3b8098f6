"""Retirement: what becomes of versions that others have replaced, and of images past their end of life. Pure.

Age counts from the day on which a version was replaced. In turn it becomes private, is hidden, and is deleted. The
newest `keep` archived versions stay as they are, because a rollback may need them. Never deleted is what servers use,
or nobody can say, what is protected, the newest good version, and what is not ours. A person who takes a step back, and
makes a version public again, has the last word: the image says which step was taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cc_images.sites.base import Delete, Describe
from cc_images.sites.entry import ENDED, RETIRED, Entry, in_service
from cc_images.sites.steps import Use
from cc_images.sites.view import View, age, version_of

PRIVATE, HIDDEN, DELETED = "private", "hidden", "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What becomes of an image, and when; `stays` says why it does not, or not yet for certain."""

    entry: Entry
    fate: str
    when: datetime
    stays: str = ""


def what_is_due(view: View) -> Describe | Delete | Use | None:
    """Take the next step of retirement that is due; who uses an image is asked right before it would be deleted."""
    if view.wish.retires is None:
        return None
    for due in calendar(view):
        entry = due.entry
        if due.stays or due.when > view.wish.now:
            continue
        if due.fate != DELETED:
            if view.may(Describe, entry):
                return Describe(entry=entry, wanted=_after(view, due))
            continue
        if view.owes:
            continue  # its members are yet to follow the name
        uses = dict(view.memory.uses)
        if entry.id not in uses:
            return Use(entry=entry)
        if uses[entry.id] == 0 and view.may(Delete, entry):
            return Delete(entry=entry)
    return None


def what_has_the_name_is_in_service(view: View) -> Describe | None:
    """Show an image that has its name again after it had retired: another host may have hidden it at that moment."""
    holder = view.holder
    if holder is None or not holder.made or RETIRED not in holder.properties or not view.may(Describe, holder):
        return None
    return Describe(entry=holder, wanted=in_service(holder))


def calendar(view: View) -> list[Due]:
    """Return what becomes of the images of a name by the rules in its wish, the oldest first."""
    return [*_of_archived(view), *_of_ended(view)]


def _of_archived(view: View) -> Iterator[Due]:
    rules = view.wish.retires
    assert rules is not None
    latest = sorted(view.archived, key=lambda entry: (entry.turn, *age(entry)), reverse=True)
    kept = {entry.id for entry in latest[: rules.keep]}
    last = _newest_good(view)
    for entry in reversed(view.archived):
        if entry.id in kept:
            continue
        if (since := replaced_on(view, entry)) is None:
            continue
        hides = rules.hide_after
        if rules.private_after is not None and entry.visibility not in ("", "private") and not _had(entry, PRIVATE):
            yield Due(entry=entry, fate=PRIVATE, when=since + timedelta(seconds=rules.private_after))
        if hides is not None and entry.visibility and not entry.hidden and not _had(entry, HIDDEN):
            yield Due(entry=entry, fate=HIDDEN, when=since + timedelta(seconds=hides))
        if rules.delete_after is not None:
            when = since + timedelta(seconds=rules.delete_after)
            stays = "protected" if entry.protected else "the newest good version" if entry is last else ""
            yield Due(entry=entry, fate=DELETED, when=when, stays=stays)


def _of_ended(view: View) -> Iterator[Due]:
    """Yield the image that has the name, where its distribution is past its end of life."""
    rules, holder = view.wish.retires, view.holder
    assert rules is not None
    if not rules.ended or holder is None or not holder.made or not holder.visibility:
        return
    if not holder.hidden and ENDED not in holder.properties:
        yield Due(entry=holder, fate=HIDDEN, when=datetime.fromisoformat(rules.ended).replace(tzinfo=UTC))


def replaced_on(view: View, entry: Entry) -> datetime | None:
    """Return when an archived version was replaced: by the publication after its last one. None: nothing says.

    Publications are counted (`turn`); images of versions that did not count go by their age.
    """
    every = [each for each in (*view.archived, *view.holders) if each.id != entry.id]
    if entry.turn:
        later = [each for each in every if each.turn > entry.turn]
        after = min(later, key=lambda each: each.turn, default=None)
    else:
        later = [each for each in every if age(each) > age(entry)]
        after = min(later, key=age, default=None)
    if after is None:
        return None
    return max(_published_on(after), entry.created)


def _published_on(entry: Entry) -> datetime:
    """Return when an image got its name last: when it was made, or by the name of the run that recalled it."""
    if entry.recalled:
        with suppress(ValueError):
            return datetime.strptime(entry.run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return entry.created


def _newest_good(view: View) -> Entry | None:
    """Return the archived version that must stay because the one that has the name is not good, or nobody has it."""
    holder = view.holder

    def good(entry: Entry) -> bool:
        return entry.status == "active" and version_of(entry.properties) not in view.wish.held

    if holder is not None and good(holder) and not holder.hidden:
        return None
    return next(filter(good, view.archived), None)


def _had(entry: Entry, fate: str) -> bool:
    """Say whether an image has been through this step, or a later one; a person may have taken it back."""
    said = entry.properties.get(RETIRED, "").partition(" ")[0]
    return said in {PRIVATE: (PRIVATE, HIDDEN), HIDDEN: (HIDDEN,)}[fate]


def _after(view: View, due: Due) -> Entry:
    """Return an image as it is after a step."""
    entry, rules = due.entry, view.wish.retires
    if entry is view.holder and rules is not None:
        return replace(entry, hidden=True, properties={**entry.properties, ENDED: rules.ended})
    noted = {**entry.properties, RETIRED: f"{due.fate} {view.wish.now:%Y-%m-%d}"}
    if due.fate == PRIVATE:
        return replace(entry, visibility="private", properties=noted)
    return replace(entry, hidden=True, properties=noted)
