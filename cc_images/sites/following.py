"""Rules for what follows a name to its new image: configured properties, tags, and members. Pure, as `reconcile` is."""

from __future__ import annotations

from dataclasses import replace

from cc_images.sites.base import Describe, Give, Share
from cc_images.sites.carrying import carried, described
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


def it_gets_the_visibility_of_the_old_one(view: View) -> Describe | None:
    """Let a staged image become as visible as the one that it replaces is now: a person may have changed that since."""
    return _visibility(view, view.holder)


def it_gets_properties_of_the_old_one(view: View) -> Describe | None:
    """Give a staged image what others have set on the one that it replaces; a site that refuses refuses no swap."""
    return _properties(view, view.holder)


def it_gets_the_owner_of_the_old_one(view: View) -> Give | None:
    """Give a staged image to the project that has the one that it replaces; a site that refuses refuses no swap."""
    return _owner(view, view.holder)


def it_lacks_something_of(view: View, old: Entry) -> bool:
    """Say whether a staged image has yet to get something of the one that it replaces."""
    return any(each(view, old) is not None for each in (_visibility, _properties, _owner))


def _visibility(view: View, old: Entry | None) -> Describe | None:
    mine = _replacing(view, old)
    if mine is None or old is None or view.wish.visibility or not view.may(Describe, mine):
        return None
    if old.visibility in ("", mine.intended) or not mine.intended:
        return None
    return Describe(entry=mine, wanted=replace(mine, intended=old.visibility))


def _properties(view: View, old: Entry | None) -> Describe | None:
    mine = _replacing(view, old)
    if mine is None or old is None or not view.wish.carry or not view.may(Describe, mine):
        return None
    properties = carried(old, mine)
    return Describe(entry=mine, wanted=replace(mine, properties=properties)) if properties != mine.properties else None


def _owner(view: View, old: Entry | None) -> Give | None:
    mine = _replacing(view, old)
    if mine is None or old is None or not view.wish.carry or not view.may(Give, mine):
        return None
    return Give(entry=mine, owner=old.owner) if old.owner not in ("", mine.owner) else None


def _replacing(view: View, old: Entry | None) -> Entry | None:
    """Return the staged image of a push, where it is to replace one."""
    mine = view.mine
    return mine if mine in view.staged and mine is not None and mine.complete and old not in (None, mine) else None


def its_tags_leave_the_old_one(view: View) -> Describe | None:
    """Take the tags that an image has from the one that it replaced: who looks for a tag finds one image."""
    holder = view.holder
    old = _replaced(view, holder) if holder is not None and holder.made and view.wish.carry else None
    if holder is None or old is None or not (old.tags & holder.tags) or not view.may(Describe, old):
        return None
    return Describe(entry=old, wanted=replace(old, tags=old.tags - holder.tags))


def its_members_follow(view: View) -> Members | Share | Describe | None:
    """Share the image with the configured projects, and with those that the one before was shared with.

    Another image that has the name gets the latter, too, before the wanted one replaces it.
    """
    holder, wish, known = view.holder, view.wish, dict(view.memory.members)
    configured = wish.members if what_has_the_bytes(view) is not None else frozenset()
    if holder is None or not wish.shares or not (holder.owes or (configured and holder.visibility == "shared")):
        return None
    asked = [holder, *_creditors(view, holder)]
    for entry in asked:
        if entry.id not in known and view.may(Members, entry):
            return Members(entry=entry)
    wanted = configured.union(*(known.get(entry.id, frozenset()) for entry in asked[1:]))
    for project in sorted(wanted - known.get(holder.id, wanted)):
        if ("Share", f"{holder.id} {project}") not in view.memory.refused:
            return Share(entry=holder, project=project)
    if holder.owes and all(view.may(Members, entry) for entry in asked) and view.may(Describe, holder):
        return Describe(entry=holder, wanted=replace(holder, owes=False))
    return None


def _creditors(view: View, holder: Entry) -> list[Entry]:
    """Return the images before it whose members an image is yet to be shared with.

    They are more than one where a push was killed, and the next one published something newer.
    """
    found: list[Entry] = []
    at: Entry | None = holder
    while at is not None and at.owes:
        at = next((each for each in view.seen if each.id == at.replaces and each.complete), None)
        if at is None or at is holder or at in found:
            break
        found.append(at)
    return found


def _replaced(view: View, holder: Entry) -> Entry | None:
    """Return the archived image that another one has replaced."""
    return next((each for each in view.seen if each.id == holder.replaces and is_archived(each, view.wish.name)), None)
