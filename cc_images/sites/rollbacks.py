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
    empty: bool = False
    """Whether the site has nothing of the name."""
    already: bool = False
    """Whether the wanted version has the name already."""


def choose(view: View, version: str = "", held: Container[str] = ()) -> Choice:
    """Choose the image of a version, or without one the newest that is older than the one in force and not held."""
    if len(view.holders) > 1:
        return Choice(why=f"{len(view.holders)} images have the name: `cc-images doctor` says which")
    holder = view.holder
    if version and holder is not None and version_of(holder.properties) == version:
        return Choice(holder=holder, already=True)
    usable = [each for each in view.archived if each.status == "active"]
    if version:
        found = [each for each in usable if version_of(each.properties) == version]
        if not found and not view.seen:
            return Choice(why="the site has no image of this name", empty=True)
        if not found:
            there = ", ".join(version_of(each.properties) or each.name for each in usable) or "none"
            return Choice(holder=holder, why=f"no archived version {version} is there; archived: {there}")
        return Choice(target=found[0], holder=holder)
    if holder is None:
        return Choice(why="no image has the name; --to says which version shall have it", empty=not view.seen)
    older = [each for each in usable if each.created < holder.created and version_of(each.properties) not in held]
    if not older:
        return Choice(holder=holder, why="nothing older is archived there that is not held")
    return Choice(target=older[0], holder=holder)
