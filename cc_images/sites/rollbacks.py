"""Rollbacks: which archived version of a name gets it back. Pure, like the rules that carry it out."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from cc_images.sites.entry import Entry
from cc_images.sites.view import View, version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The archived image that a rollback brings back, and the one that it replaces; or why there is none."""

    target: Entry | None = None
    holder: Entry | None = None
    why: str = ""
    note: str = ""
    """Why nothing is to be done, where that is well."""
    empty: bool = False
    """Whether the site has nothing of the name."""

    @property
    def before(self) -> str:
        """The version that has the name now."""
        return version_of(self.holder.properties) if self.holder is not None else ""

    @property
    def after(self) -> str:
        """The version that is to have it."""
        return version_of(self.target.properties) if self.target is not None else self.before

    @property
    def back(self) -> bool:
        """Whether an older image is to replace a younger one."""
        return self.target is not None and self.holder is not None and older(self.target, self.holder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The aim of a rollback: a version, or without one the newest that is older than the bad one and not held."""

    version: str = ""
    bad: str = ""
    """The version that is to go: a site that has another one is left alone. Empty: whatever is in force."""
    held: Container[str] = ()


def choose(view: View, goal: Goal) -> Choice:
    """Choose the image that gets the name."""
    if len(view.holders) > 1:
        return Choice(why=f"{len(view.holders)} images have the name: `cc-images doctor` says which")
    holder = view.holder
    if holder is None and not view.seen:
        return Choice(why="the site has no image of this name", empty=True)
    has = version_of(holder.properties) if holder is not None else ""
    usable = [each for each in view.archived if each.status == "active" and not _same(each, holder)]
    if goal.version:
        return _named(goal.version, has, holder, usable)
    if holder is None:
        return Choice(why="no image has the name; --to says which version shall have it")
    if goal.bad and has != goal.bad:
        return Choice(holder=holder, note=f"it does not have {goal.bad}, which is the newest in force")
    before = [each for each in usable if older(each, holder) and version_of(each.properties) not in goal.held]
    if not before:
        return Choice(holder=holder, why="nothing older is archived there that is not held")
    return Choice(target=before[0], holder=holder)


def _named(version: str, has: str, holder: Entry | None, usable: list[Entry]) -> Choice:
    if has == version:
        return Choice(holder=holder, note="it has the name already")
    found = [each for each in usable if version_of(each.properties) == version]
    if not found:
        there = ", ".join(version_of(each.properties) or each.name for each in usable) or "none"
        return Choice(holder=holder, why=f"no archived version {version} is there; archived: {there}")
    return Choice(target=found[0], holder=holder)


def older(one: Entry, other: Entry) -> bool:
    """Say whether an image is older than another one; sites tell the age in whole seconds, and versions tell it too."""
    versions = [version_of(each.properties) for each in (one, other)]
    if all(versions):
        return versions[0] < versions[1]
    return one.created < other.created


def _same(entry: Entry, holder: Entry | None) -> bool:
    """Say whether an archived image is what has the name already: a version that was published twice."""
    return holder is not None and (
        entry.sha512 == holder.sha512 != "" or version_of(entry.properties) == version_of(holder.properties) != ""
    )
