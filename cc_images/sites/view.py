"""The view of one name: everything that a site has for it, by its part, with the wish and memory of a push.

Owns the values that decisions are made from, and the facts that follow from them. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cc_images.model.catalog import Json, Retirement
from cc_images.sites.entry import (
    Entry,
    archive_names,
    has_archive_name,
    has_staged_name,
    is_archived,
    mark,
    staged_name,
)

FOREIGN = timedelta(hours=6)
"""For so long a staged image of another host's run may belong to a living one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The state that is wanted for one name; without `wanted`, only what dead runs left is put in order."""

    name: str
    wanted: bool = True
    digests: frozenset[str] = frozenset()
    """The file's digests, by each algorithm that the site uses."""
    size: int = 0
    properties: Json = field(default_factory=dict, hash=False)
    disk_format: str = ""
    visibility: str = ""
    """As the site's entry demands; empty: as the image that is replaced."""
    first_visibility: str = ""
    keep: int | None = None
    retires: Retirement | None = None
    """The rules for versions that were replaced, where they are to be carried out."""
    held: frozenset[str] = frozenset()
    """Versions that people hold."""
    tags: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    """Projects that the image is to be shared with."""
    shares: bool = False
    """Whether the site shares images with projects one by one."""
    carry: bool = True
    """Whether the image gets what others have put on the one that it replaces."""
    insist: bool = False
    """Whether to publish over a change that a person made."""
    recalls: str = ""
    """The id of an archived image that is to have the name again, in place of an upload."""
    run: str = ""
    """The run that recalls it."""
    released: bool = False
    """Whether a person has released the wanted build after a rollback."""
    before: bool = False
    """Whether this store's last publication here was this very build."""
    now: datetime = datetime.min
    ours: Callable[[str], bool] = field(default=lambda run: True, compare=False)
    """Whether a run was one of this store's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The history of one push so far."""

    ids: tuple[str, ...] = ()
    """Ids for its uploads."""
    sent: int = 0
    mine: str = ""
    """The id of its upload."""
    fresh: bool = True
    """Whether the site was looked at since the upload, and since the publication."""
    swapped: bool = False
    """Whether its image has had the name."""
    changed: bool = False
    archived: str = ""
    named: frozenset[str] = frozenset()
    """Ids of images to which it gave the name, its own or others."""
    removed: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    """Things that it put in order, a phrase each."""
    members: tuple[tuple[str, frozenset[str]], ...] = ()
    """The projects that images are shared with, by the images' ids, as far as it was asked."""
    uses: tuple[tuple[str, int | None], ...] = ()
    """How many servers use images, by the images' ids, as far as it was asked; None: nobody can say."""
    refused: frozenset[tuple[str, str]] = frozenset()
    """Steps that the site refuses, by kind and image."""
    failures: int = 0
    waits: int = 0
    undoing: bool = False
    vacant: bool = False
    """Whether the name is vacant by an act of ours, as far as is known."""


class View:
    """Everything that a site has for one name, by the part that it plays."""

    def __init__(self, wish: Wish, seen: Sequence[Entry], memory: Memory) -> None:
        self.wish, self.seen, self.memory = wish, seen, memory
        self.mine = next((entry for entry in seen if entry.id == memory.mine), None)

    @cached_property
    def holders(self) -> list[Entry]:
        """Images that have the name."""
        return [entry for entry in self.seen if entry.name == self.wish.name and entry.complete]

    @property
    def holder(self) -> Entry | None:
        """The image that has the name, where it is one."""
        return self.holders[0] if len(self.holders) == 1 else None

    @property
    def owes(self) -> bool:
        """Whether the image that has the name is to be shared yet with projects that only older ones know."""
        return self.wish.shares and self.holder is not None and self.holder.owes

    @cached_property
    def staged(self) -> list[Entry]:
        """Uploads that were not published, newest first; some without bytes may have lost their marks."""
        return sorted(filter(self.is_staged, self.seen), key=age, reverse=True)

    @cached_property
    def archived(self) -> list[Entry]:
        """Versions that cc-images archived and no person has moved since, newest first."""
        found = (entry for entry in self.seen if entry.complete and is_archived(entry, self.wish.name))
        return sorted(found, key=age, reverse=True)

    def run_of(self, staged: Entry) -> str:
        """Return the run that made a staged image."""
        return staged.run or staged.name.removeprefix(f"{self.wish.name}.").removesuffix(".staged")

    def is_dead(self, staged: Entry) -> bool:
        """Say whether the run of an upload is dead for certain: one of this store's, or one of long ago."""
        return self.wish.ours(self.run_of(staged)) or self.wish.now - begun(staged) >= FOREIGN

    def same(self, entry: Entry) -> bool:
        """Say whether an image has the wanted bytes, in the wanted format."""
        formats = {entry.disk_format, self.wish.disk_format} - {""}
        return entry.size == self.wish.size and entry.sha512 in self.wish.digests and len(formats) < 2

    def may(self, kind: type, entry: Entry) -> bool:
        """Say whether the site has not refused such a step yet."""
        return (kind.__name__, entry.id) not in self.memory.refused

    def free_name(self, entry: Entry) -> str:
        """Return the first archive name that no image has."""
        taken = {each.name for each in self.seen}
        return next(name for name in archive_names(replace(entry, name=self.wish.name)) if name not in taken)

    def predecessor(self, staged: Entry) -> Entry | None:
        """Return the image that was archived to make room for a staged one, which proves that the vacancy is ours."""
        before = next((entry for entry in self.seen if entry.id == staged.replaces), None)
        since = before.turn if before is not None else 0
        # the same bytes may have replaced others long ago, before they were archived or replaced themselves
        found = [each for each in self.archived if each.successor == mark(staged.sha512) != "" and each.turn >= since]
        if before is not None and has_archive_name(before, self.wish.name):
            # another one may have had the name while this one was uploaded
            found = [each for each in found if each.turn > since and replaced(each, before, self)] or [before]
        return max(found, key=lambda entry: (entry.turn, *age(entry)), default=None)

    def is_staged(self, entry: Entry) -> bool:
        """Say whether an image is an upload for this name that still has its temporary name."""
        if entry.made and entry.target == self.wish.name:
            return entry.name == staged_name(self.wish.name, entry.run)
        empty = not (entry.made or entry.complete or entry.size) and entry.visibility in ("", "private")
        return empty and has_staged_name(entry, self.wish.name)


def surplus(archived: Sequence[Entry], keep: int | None, newer: int = 0) -> list[Entry]:
    """Return the archived versions that retention removes: all but `keep`, protected ones never.

    Those that had the name last stay: after a rollback that is the good one, although the bad one is younger. `newer`
    counts versions that will have been archived until then.
    """
    if keep is None:
        return []
    latest = sorted(archived, key=lambda entry: (entry.turn, *age(entry)), reverse=True)
    return [entry for entry in latest[max(keep - newer, 0) :] if not entry.protected]


def begun(staged: Entry) -> datetime:
    """Return when the push of a staged image began; the name of a run begins with that."""
    if staged.recalled:
        with suppress(ValueError):
            return datetime.strptime(staged.run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return staged.created


def age(entry: Entry) -> tuple[datetime, int, str]:
    """Return what orders images by their age; sites tell it in whole seconds."""
    return entry.created, entry.turn, entry.id


def published_by_us(entry: Entry) -> bool:
    """Say whether an image has its name by our act; people leave the marks of what it was before."""
    return entry.made and not entry.target and not entry.archives


def version_of(properties: Mapping[str, str]) -> str:
    """Return the version of the build that properties tell of; empty if they do not."""
    return properties.get("build-version", "")


def supersedes(winner: Entry, loser: Entry, view: View) -> bool:
    """Say whether one of two that have the name by our acts came after the other, or won against it.

    A winner replaced the loser, or the loser was given its name back because a push seemed to fail, or the loser's push
    did not know of another one: then two images had one turn.
    """
    if winner is loser or not (published_by_us(winner) and published_by_us(loser)):
        return False
    if replaced(winner, loser, view) or (loser.successor and not winner.successor):
        return True
    unknown = loser.turn and any(each.turn == loser.turn and each is not loser for each in publications(view))
    return bool(unknown) and (winner.turn, *age(winner)) > (loser.turn, *age(loser))


def replaced(winner: Entry, loser: Entry, view: View) -> bool:
    """Say whether an image replaced another one, or one that did, as far as they are there."""
    known = {entry.id: entry for entry in view.seen}
    passed: set[str] = set()
    at: Entry | None = winner
    while at is not None and at.replaces and at.id not in passed:
        passed.add(at.id)
        if at.replaces == loser.id:
            return True
        at = known.get(at.replaces)
    return False


def publications(view: View) -> list[Entry]:
    """Return the images of ours that have been published."""
    return [entry for entry in view.seen if entry.made and entry.complete and not view.is_staged(entry)]


def next_turn(view: View) -> int:
    """Return the turn of the next publication."""
    return 1 + max((entry.turn for entry in publications(view)), default=0)


def was_last(view: View) -> bool:
    """Say whether the site itself shows that the wanted build was published last."""
    if view.holder is not None and view.holder.displaced in view.wish.digests:
        return True
    if not (known := publications(view)):
        return False
    last = max(known, key=age)
    version = version_of(last.properties) == version_of(view.wish.properties)
    return (view.same(last) and version) or any(mark(digest) == last.successor for digest in view.wish.digests)
