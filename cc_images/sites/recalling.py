"""Rules for archived versions that come back, and return if they do not get the name. Pure, as `reconcile` is."""

from __future__ import annotations

from cc_images.errors import Reason
from cc_images.sites.base import Delete, Recall, Return
from cc_images.sites.entry import Entry
from cc_images.sites.steps import End
from cc_images.sites.view import View, version_of


def a_rollback_stands(view: View) -> End | None:
    """Keep an image that came back from the archive when the wanted build is one that it was brought back for."""
    wish, holder = view.wish, view.holder
    if wish.insist or wish.released or wish.recalls or view.memory.sent or holder is None or not holder.recalled:
        return None
    for entry in view.archived:
        version = version_of(entry.properties) == version_of(wish.properties)
        if view.same(entry) and version and entry.created > holder.created:
            note = "it was rolled back here: kept until there is a newer build; --force publishes over it"
            return End(note=note, same=False)
    return None


def an_archived_version_is_recalled(view: View) -> Recall | End | None:
    """Bring the wanted image back from the archive, in place of an upload."""
    wish, mine, holder = view.wish, view.mine, view.holder
    if not wish.recalls or mine in view.staged:
        return None
    entry = next((each for each in view.archived if each.id == wish.recalls), None)
    if entry is None or not view.may(Recall, entry):
        return End(
            message=f"the archived image {wish.recalls} of {wish.name} was changed by somebody else",
            hint="see who else publishes this image, then roll back again",
            reason=Reason.CONFLICT,
            temporary=True,
        )
    visibility = wish.visibility or (holder.visibility if holder is not None else entry.visibility)
    replaces = holder.id if holder is not None else ""
    return Recall(entry=entry, target=wish.name, run=wish.run, replaces=replaces, visibility=visibility)


def away(view: View, staged: Entry) -> Return | Delete:
    """Return the step that takes a staged image away: an upload is removed, a recalled version is archived again."""
    if staged.recalled:
        return Return(entry=staged, name=view.free_name(staged))
    return Delete(entry=staged)


def may_go(view: View, staged: Entry) -> bool:
    """Say whether the site has not refused that step yet."""
    return view.may(Return if staged.recalled else Delete, staged)
