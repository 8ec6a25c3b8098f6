"""A push's knowledge after a step: pure, like the rules that decide from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cc_images.sites.base import (
    Act,
    Archive,
    Delete,
    Describe,
    Give,
    Publish,
    Recall,
    Restore,
    Return,
    Settle,
    Share,
    Upload,
)
from cc_images.sites.entry import Entry
from cc_images.sites.steps import FAILURES, WAITS, Failure
from cc_images.sites.view import (
    Memory,
    View,
    Wish,
)


def begin(memory: Memory, step: Act) -> Memory:
    """Return what a push knows once a step is on its way, whatever becomes of it."""
    match step:
        case Upload():
            return replace(memory, mine=step.id, sent=memory.sent + 1, waits=0)
        case Recall():
            return replace(memory, mine=step.entry.id)
        case Archive() if step.successor and not memory.swapped:
            return replace(memory, vacant=True, archived=step.name)
        case Publish() | Restore():  # members are asked for again: a person may have changed them since
            return replace(memory, named=memory.named | {step.entry.id}, members=())
    return memory


def learn(
    wish: Wish, seen: Sequence[Entry], memory: Memory, step: Act, answer: Entry | Failure | None
) -> tuple[tuple[Entry, ...], Memory]:
    """Return what is there and what a push knows after a step; after a failure the caller looks again."""
    if isinstance(answer, Failure):
        return tuple(seen), _failed(memory, step, answer)
    gone = step.id if isinstance(step, Upload) else step.entry.id
    after = (*(entry for entry in seen if entry.id != gone), *([answer] if answer is not None else []))
    failures = memory.failures if isinstance(step, Archive) else 0
    memory = replace(memory, failures=failures, vacant=memory.vacant and not View(wish, after, memory).holders)
    if said := _in_order(View(wish, seen, memory), step):
        memory = replace(memory, done=(*memory.done, said))
    match step:
        case Upload() | Recall() | Restore():
            memory = replace(memory, fresh=False)
        case Publish():
            own = step.entry.id == memory.mine
            memory = replace(memory, fresh=False, swapped=memory.swapped or own, changed=memory.changed or own)
        case Share():
            known = dict(memory.members).get(step.entry.id, frozenset())
            memory = replace(told_members(memory, step.entry, known | {step.project}), changed=True)
        case Describe(entry=entry) if entry.target:
            pass
        case Describe() | Settle():
            memory = replace(memory, changed=True)
        case Delete() if step.entry.archives:
            memory = replace(memory, removed=(*memory.removed, step.entry.name))
    if wish.retires is not None:  # what is old is not worth a decision on old news
        memory = replace(memory, fresh=False)
    return after, memory


def _in_order(view: View, step: Act) -> str:
    """Return which thing that others left a step has put in order, as a phrase; empty for a push's own work."""
    own = not isinstance(step, Upload) and step.entry.id == view.memory.mine
    match step:
        case Publish() if not own:
            return f"finished the publication of run {step.entry.run}"
        case Restore():
            return f"gave {step.entry.name} its name back"
        case Return() if not own:
            return f"archived {step.name} again, which run {step.entry.run} had recalled"
        case Archive() if view.memory.swapped:
            return f"archived {step.name}, which had the name too"
        case Describe(entry=entry, wanted=wanted) if entry.archives and wanted.hidden and not entry.hidden:
            return f"hid {entry.name}"
        case Describe(entry=entry, wanted=wanted) if entry.archives and wanted.visibility != entry.visibility:
            return f"made {entry.name} {wanted.visibility}"
        case Describe(entry=entry, wanted=wanted) if wanted.hidden and not entry.hidden:
            return f"hid {entry.name}, which is past its end of life"
        case Delete() if not (own or step.entry.archives):
            return f"removed the upload of run {view.run_of(step.entry) or '?'}"
    return ""


def looked(wish: Wish, seen: Sequence[Entry], memory: Memory) -> Memory:
    """Return what a push knows after a look."""
    view = View(wish, seen, memory)
    vacant = not view.holders and any(view.predecessor(staged) is not None for staged in view.staged)
    mine = view.mine
    swapped = memory.swapped or (mine is not None and mine in view.holders and not mine.target)
    undoing = memory.undoing and not swapped
    changed = memory.changed or swapped
    return replace(memory, fresh=True, vacant=vacant, swapped=swapped, undoing=undoing, changed=changed)


def waited(memory: Memory) -> Memory:
    """Return what a push knows after it has let the site some time."""
    return replace(memory, waits=memory.waits + 1)


def told_members(memory: Memory, entry: Entry, projects: frozenset[str] | None) -> Memory:
    """Return what a push knows after it has asked for an image's members; None: the site did not say."""
    if projects is None:
        return replace(memory, refused=memory.refused | {("Members", entry.id)})
    return replace(memory, members=(*(each for each in memory.members if each[0] != entry.id), (entry.id, projects)))


def told_use(memory: Memory, entry: Entry, count: int | None) -> Memory:
    """Return what a push knows after it has asked how many servers use an image; None: the site did not say."""
    return replace(memory, uses=(*memory.uses, (entry.id, count)))


def _failed(memory: Memory, step: Act, failure: Failure) -> Memory:
    """Return what a push knows after a failure.

    A removal that fails never fails a push, nor does a step that carries something over. Any other step is decided
    again while its failure is temporary, at most so often, or for as long as the name is vacant; an upload has a limit
    of its own.
    """
    refused = memory.refused | {(type(step).__name__, step.id if isinstance(step, Upload) else step.entry.id)}
    if isinstance(step, Delete):
        return replace(memory, refused=refused)
    memory = replace(memory, failures=memory.failures + 1)
    if isinstance(step, Share | Give) or (isinstance(step, Describe) and (step.entry.archives or step.entry.target)):
        return _left_out(memory, step, failure, refused)
    again = isinstance(step, Upload) or memory.failures < FAILURES or memory.vacant
    if failure.temporary and again:
        return replace(memory, waits=WAITS) if failure.broken else memory
    mine = isinstance(step, Upload | Describe) or step.entry.id == memory.mine or isinstance(step, Archive)
    return replace(memory, refused=refused, undoing=memory.undoing or (mine and not memory.swapped))


def _left_out(
    memory: Memory, step: Share | Give | Describe, failure: Failure, refused: frozenset[tuple[str, str]]
) -> Memory:
    """Return what a push knows after the failure of a step that it can do without, once it was tried often enough.

    Members are owed for as long as the site has not refused them for good.
    """
    if failure.temporary and memory.failures < FAILURES:
        return memory
    if isinstance(step, Share):
        owed = {("Members", step.entry.id)} if failure.temporary else set()
        refused = memory.refused | {("Share", f"{step.entry.id} {step.project}")} | owed
    return replace(memory, refused=refused, failures=0)
