"""The next step of publishing: a pure function of the wish, the state of the site, and the history of this push.

`decide` asks its rules in their order; the first that has a step wins. `learn` says what a push knows after the step.
Both are the whole of publishing: `publish` only carries messages between them and a site, and a model checker does the
same with a site that loses answers, people who act in between, and two hosts. The rules are listed in `publish`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cc_images.errors import Reason
from cc_images.sites.base import Act, Archive, Delete, Publish, Restore, Settle, Upload
from cc_images.sites.entry import Entry, mark
from cc_images.sites.following import (
    it_gets_properties_of_the_old_one,
    it_gets_the_owner_of_the_old_one,
    it_gets_the_visibility_of_the_old_one,
    it_is_described,
    it_lacks_something_of,
    its_members_follow,
    its_tags_leave_the_old_one,
    what_has_the_bytes,
)
from cc_images.sites.recalling import a_rollback_stands, an_archived_version_is_recalled, away, may_go
from cc_images.sites.retiring import what_has_the_name_is_in_service, what_is_due
from cc_images.sites.steps import UPLOADS, WAITS, End, Look, Members, Use, Wait
from cc_images.sites.view import (
    FOREIGN,
    Memory,
    View,
    Wish,
    next_turn,
    supersedes,
    surplus,
    version_of,
    was_last,
)

Step = Act | Look | Wait | Members | Use | End


# -- the rules, in their order -----------------------------------------------------------------------------------------


def one_has_the_name(view: View) -> Step | None:
    """Archive the loser of two that we published; leave any other two to a person."""
    if len(view.holders) < 2:
        return None
    for loser in view.holders:
        for winner in view.holders:
            if supersedes(winner, loser, view) and view.may(Archive, loser):
                return Archive(entry=loser, name=view.free_name(loser), successor=mark(winner.sha512))
    for entry in view.holders:
        if entry.id in view.memory.named and view.may(Archive, entry):
            return Archive(entry=entry, name=view.free_name(entry), successor="")
    return End(
        message=f"the site has {len(view.holders)} images named {view.wish.name}: "
        f"{', '.join(entry.id for entry in view.holders)}",
        hint="rename or delete all but one of them, then push again",
        reason=Reason.AMBIGUOUS,
    )


def the_loser_steps_back(view: View) -> Step | None:
    """End a push whose image lost the name again."""
    if not view.memory.swapped or view.mine in view.holders:
        return None
    other = f"image {view.holders[0].id} has" if view.holders else "nobody has"
    kept = f"; this push's is {view.mine.name} now" if view.mine else ""
    return End(
        message=f"somebody else changed {view.wish.name} at the same moment: {other} the name{kept}",
        hint="see who else publishes this image; the next push finds one image of the name",
        reason=Reason.BUSY,
        temporary=True,
    )


def a_vacancy_of_ours_is_filled(view: View) -> Step | None:
    """Finish a publication, of any run, that was interrupted between its renames, or else undo it."""
    if view.holders:
        return None
    for staged in sorted(view.staged, key=lambda each: each.id != view.memory.mine):
        if (before := view.predecessor(staged)) is None:
            continue
        own = staged.id == view.memory.mine
        undone = view.memory.undoing if own else version_of(staged.properties) in view.wish.held
        # another host has made the vacancy, before this push could carry over what the old image has
        undone = undone or (own and not view.memory.archived and it_lacks_something_of(view, before))
        if staged.complete and not undone and view.may(Publish, staged):
            return _published(view, staged, before)
        if staged.id != view.memory.mine and not view.is_dead(staged):
            return _busy(view, staged)
        if view.may(Restore, before):
            return Restore(entry=before, name=view.wish.name)
    return None


def a_failed_push_takes_its_image_away(view: View) -> Step | None:
    """Remove the upload of a push that gives up, last of all, because it is the record of what was going on."""
    if not view.memory.undoing:
        return None
    mine = view.mine
    if mine is None or mine not in view.staged or not may_go(view, mine):
        return End()
    unfilled = not view.holders and view.predecessor(mine) is not None
    return End() if unfilled else away(view, mine)


def what_dead_runs_left_is_removed(view: View) -> Step | None:
    """Remove uploads of dead runs, and archive what they recalled; leave when a young one may be another host's."""
    if view.memory.sent:
        return None
    for staged in view.staged:
        if staged.id == view.memory.mine or not may_go(view, staged):
            continue
        if view.is_dead(staged):
            return away(view, staged)
        if (view.holders or not staged.complete) and staged.status not in ("deleted", "pending_delete"):
            return _busy(view, staged)
    return None


def a_name_given_by_hand_is_settled(view: View) -> Step | None:
    """Take the marks of an upload from an image that a person gave the name; those of an archive once it is wanted."""
    holder = view.holder
    if holder is None or not holder.made or not view.may(Settle, holder):
        return None
    if holder.target or (holder.archives and view.same(holder)):
        return Settle(entry=holder)
    return None


def order_alone_was_wanted(view: View) -> Step | None:
    """End here unless something is to be published."""
    return None if view.wish.wanted else End()


def a_change_by_hand_stands(view: View) -> Step | None:
    """Keep a site that differs from the last publication because a person changed it."""
    wish, holder = view.wish, view.holder
    if wish.insist or view.memory.sent or (holder is not None and view.same(holder)):
        return None
    if holder is None:
        kept = wish.before
        said = f"somebody took the name {wish.name} from the image that was published last"
    else:
        by_hand = not holder.made or holder.archives == wish.name
        if not by_hand and version_of(holder.properties) == version_of(wish.properties) != "":
            return None  # another site's entry publishes the same build here, in another format
        kept = wish.before or (by_hand and was_last(view))
        said = f"somebody gave the name {wish.name} to image {holder.id}"
        said += f" (version {holder.properties['build-version']})" if "build-version" in holder.properties else ""
    note = f"{said}: kept until there is a newer build; --force publishes over it"
    return End(note=note, same=False) if kept else None


def a_swap_is_looked_at(view: View) -> Step | None:
    """Look before a swap, because an upload takes hours, and after it, because another host may have done the same."""
    return None if view.memory.fresh else Look()


def another_upload_goes(view: View) -> Step | None:
    """Take away a staged image of this push when the wanted bytes have the name already."""
    mine = view.mine
    if what_has_the_bytes(view) is None or mine is None or mine not in view.staged or not may_go(view, mine):
        return None
    return away(view, mine)


def superseded_versions_go(view: View) -> Step | None:
    """Remove what retention does not keep, and end: the wanted image has the name."""
    holder = what_has_the_bytes(view)
    if holder is None:
        return None
    for entry in surplus(view.archived, view.wish.keep):
        if view.may(Delete, entry) and not view.owes:
            return Delete(entry=entry)
    if holder.status != "active":
        return End(note="somebody has deactivated it: kept until there is a newer build; --force publishes over it")
    return End(note="somebody has hidden it, and it stays hidden; --force publishes over it" if holder.hidden else "")


def the_file_is_sent(view: View) -> Step | None:
    """Send the bytes to a private image with a temporary name, or let the site finish storing them."""
    wish, memory, mine, holder = view.wish, view.memory, view.mine, view.holder
    if mine is not None and not view.is_staged(mine):
        return End(
            message=f"somebody gave the upload of {wish.name} the name {mine.name}, and it is left alone",
            hint="push again",
            reason=Reason.CONFLICT,
            temporary=True,
        )
    if mine is not None and mine.complete and view.same(mine):
        return None
    if mine is not None and mine.status == "saving" and memory.waits < WAITS:
        return Wait()
    useless = mine is not None and (mine.status != "queued" or memory.sent >= UPLOADS)
    if mine is not None and useless and view.may(Delete, mine):
        return Delete(entry=mine)
    if useless or memory.sent >= UPLOADS:
        return End(reason=Reason.GIVEN_UP)
    return Upload(
        id=mine.id if mine is not None else memory.ids[memory.sent],
        visibility=wish.visibility or (holder.visibility if holder is not None else wish.first_visibility),
        replaces=holder.id if holder is not None else "",
        entry=mine,
    )


def the_old_one_is_archived(view: View) -> Step | None:
    """Give the image that has the name an archive name."""
    mine = view.mine
    if view.holder is None or mine is None or view.holder is mine:
        return None
    return Archive(entry=view.holder, name=view.free_name(view.holder), successor=mark(mine.sha512))


def the_new_one_gets_the_name(view: View) -> Step | None:
    """Give the upload the name, which no image has."""
    if view.holders or view.mine is None or not view.may(Publish, view.mine):
        return None
    return _published(view, view.mine, view.predecessor(view.mine))


RULES: tuple[Callable[[View], Step | None], ...] = (
    one_has_the_name,
    a_swap_is_looked_at,
    the_loser_steps_back,
    a_vacancy_of_ours_is_filled,
    a_failed_push_takes_its_image_away,
    what_dead_runs_left_is_removed,
    a_name_given_by_hand_is_settled,
    what_has_the_name_is_in_service,
    what_is_due,
    order_alone_was_wanted,
    a_rollback_stands,
    a_change_by_hand_stands,
    another_upload_goes,
    it_is_described,
    its_tags_leave_the_old_one,
    its_members_follow,
    superseded_versions_go,
    an_archived_version_is_recalled,
    the_file_is_sent,
    it_gets_the_visibility_of_the_old_one,
    it_gets_properties_of_the_old_one,
    it_gets_the_owner_of_the_old_one,
    the_old_one_is_archived,
    the_new_one_gets_the_name,
)


def decide(
    wish: Wish,
    seen: Sequence[Entry],
    memory: Memory,
    rules: Sequence[Callable[[View], Step | None]] = RULES,
) -> Step:
    """Return the next step towards the wish, given what the site was seen to have."""
    view = View(wish, seen, memory)
    for rule in rules:
        if (step := rule(view)) is not None:
            return step
    return End()


def _published(view: View, staged: Entry, before: Entry | None) -> Publish:
    wish = view.wish
    return Publish(
        entry=staged, before=before, turn=next_turn(view), carry=wish.carry, hides=not wish.insist, tags=wish.tags
    )


def _busy(view: View, staged: Entry) -> End:
    run = view.run_of(staged)
    return End(
        message=f"another host is publishing {view.wish.name} (run {run}, begun {staged.created:%H:%M} UTC)",
        hint=f"wait for it; what it leaves is cleared up after {FOREIGN.total_seconds() / 3600:.0f} hours",
        reason=Reason.BUSY,
        temporary=True,
    )
