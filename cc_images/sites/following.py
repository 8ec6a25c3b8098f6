"""Rules for what follows a name to its new image: configured properties, tags, and members. Pure, as `reconcile` is."""

from __future__ import annotations

from dataclasses import replace

from cc_images.sites.base import Describe, Give, Share
from cc_images.sites.carrying import described, set_by_others
from cc_images.sites.entry import Entry, is_archived
from cc_images.sites.steps import Members
from cc_images.sites.view import View


def what_has_the_bytes(view: View) -> Entry | None:
    """Return the image that has the name, where it is the wanted one and nobody's withdrawal is to be overcome."""
    holder, wish = view.holder, view.wish
    if holder is None or not view.same(holder):
        return None
    if wish.insist and (holder.hidden or holder.status != "active") and not view.memory.swapped:
        return None
    return holder


def it_is_described(view: View) -> Describe | None:
    """Give the image its properties, tags and visibility; no bytes are sent."""
    holder, wish = what_has_the_bytes(view), view.wish
    if holder is None or wish.recalls or not view.may(Describe, holder):
        return None
    wanted = replace(
        holder,
        properties=described(holder, wish.properties),
        tags=holder.tags | wish.tags,
        visibility=wish.visibility or holder.visibility,
    )
    changed = (wanted.properties, wanted.tags, wanted.visibility) != (holder.properties, holder.tags, holder.visibility)
    return Describe(entry=holder, wanted=wanted) if changed else None


def it_gets_properties_of_the_old_one(view: View) -> Describe | None:
    """Give a staged image what others have set on the one that it replaces; a site that refuses refuses no swap."""
    mine, holder = view.mine, view.holder
    if not view.wish.carry or mine is None or mine not in view.staged or not mine.complete or holder in (None, mine):
        return None
    assert holder is not None
    properties = {**set_by_others(holder), **mine.properties}
    if properties == mine.properties or not view.may(Describe, mine):
        return None
    return Describe(entry=mine, wanted=replace(mine, properties=properties))


def it_gets_the_owner_of_the_old_one(view: View) -> Give | None:
    """Give a staged image to the project that has the one that it replaces; a site that refuses refuses no swap."""
    mine, holder = view.mine, view.holder
    if not view.wish.carry or mine is None or mine not in view.staged or not mine.complete or holder in (None, mine):
        return None
    assert holder is not None
    if holder.owner in ("", mine.owner) or not view.may(Give, mine):
        return None
    return Give(entry=mine, owner=holder.owner)


def its_tags_leave_the_old_one(view: View) -> Describe | None:
    """Take the tags that the image has from the one that it replaced: who looks for a tag finds one image."""
    holder = what_has_the_bytes(view)
    old = _replaced(view, holder) if holder is not None and view.wish.carry else None
    if holder is None or old is None or not (old.tags & holder.tags) or not view.may(Describe, old):
        return None
    return Describe(entry=old, wanted=replace(old, tags=old.tags - holder.tags))


def its_members_follow(view: View) -> Members | Share | Describe | None:
    """Share the image with the configured projects, and with those that the one before was shared with."""
    holder, wish, known = what_has_the_bytes(view), view.wish, dict(view.memory.members)
    if holder is None or not wish.shares or not (holder.owes or (wish.members and holder.visibility == "shared")):
        return None
    old = _replaced(view, holder) if holder.owes else None
    for entry in (holder, old):
        if entry is not None and entry.id not in known and view.may(Members, entry):
            return Members(entry=entry)
    wanted = wish.members | known.get(old.id if old is not None else "", frozenset())
    for project in sorted(wanted - known.get(holder.id, wanted)):
        if ("Share", f"{holder.id} {project}") not in view.memory.refused:
            return Share(entry=holder, project=project)
    if holder.owes and view.may(Describe, holder):
        return Describe(entry=holder, wanted=replace(holder, owes=False))
    return None


def _replaced(view: View, holder: Entry) -> Entry | None:
    """Return the archived image that another one has replaced."""
    return next((each for each in view.seen if each.id == holder.replaces and is_archived(each, view.wish.name)), None)
