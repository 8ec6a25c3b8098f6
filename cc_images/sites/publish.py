"""Publishing: one image has the name, despite failures, other hosts and people.

A push observes the site, asks `reconcile.decide` for a step, takes it, and observes again when the answer was not seen.

 1. An upload has a private temporary name, and its bytes are compared before anything else is touched.
 2. No image gets a name that another one was seen to have; of two that we published all the same, one is archived.
 3. Of the name's images, only what is ours is deleted: by our tag, by the name that we gave it and by our marks.
 4. Only what is superseded is deleted, and it is looked at once more before.
 5. A person's changes stand, and are reported: a rollback, a withdrawal, a kept version; until a newer build or
    `--force`.
 6. The name is vacant for one call. A vacancy that we made is filled before anything else, by the next push.
 7. While the name is vacant, a push goes on asking a site that is away, and says so.
 8. A push that fails undoes what it did, newest first; its upload goes last, because that is the record.
 9. Only uploads of runs that are known to be dead are removed: those of this store, others after six hours.
10. A removal that fails never fails a push.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from cc_images.model.catalog import Retirement
from cc_images.model.stop import Stop
from cc_images.sites import view as views
from cc_images.sites.base import ImageSite, Publication
from cc_images.sites.cloud import PAUSE
from cc_images.sites.entry import Entry
from cc_images.sites.push import PERSEVERANCE, Never, Push
from cc_images.sites.rollbacks import Choice
from cc_images.sites.view import Memory, View, Wish

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a publication. `archived` is the old image's name now; `removed` what retention deleted.

    `kept` says what a person did that stands, and `same` whether the wanted image has the name nevertheless. `notes`
    are what else an operator should know.
    """

    changed: bool
    address: str
    archived: str = ""
    removed: tuple[str, ...] = ()
    kept: str = ""
    same: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms an image is published."""

    keep: int | None = None
    """Archived versions that stay at most; None: all."""
    ours: Callable[[str], bool] = lambda run: True
    """Tells the runs of this store."""
    insist: bool = False
    """Whether it overwrites a person's changes."""
    before: bool = False
    """Whether this store's last publication there was this very build."""
    released: bool = False
    """Whether a person has released the build after a rollback."""
    held: frozenset[str] = frozenset()
    """Versions that people hold: an interrupted publication of one is undone, not finished."""
    tags: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    """Projects that it is shared with, besides those that its predecessor is shared with."""
    carry: bool = True
    """Whether it gets what others have put on the image that it replaces."""
    pause: float = PAUSE
    """Seconds before a step is tried again; each further pause is twice as long."""
    perseverance: timedelta = PERSEVERANCE
    """How long a site that does not answer is asked while the name is vacant."""


def publish(
    site: ImageSite,
    publication: Publication,
    terms: Terms = Terms(),
    *,
    stop: Stop,
    report: Callable[[int], None] = lambda done: None,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Make the site have this image, with at least its properties, under its name.

    It is as visible as the site says, else as the image that it replaces. No bytes are sent that are there already.

    `say` gets a line while the name is vacant and the site does not answer.

    Raises CCImagesError when the site holds several images of the name, or when what it received is not what was sent.
    """
    push = Push(site, publication.name, publication, stop=stop, report=report, say=say)
    push.pause, push.perseverance = terms.pause, terms.perseverance
    with site.exclusive(stop):
        push.wish = replace(
            push.wish,
            wanted=True,
            digests=frozenset({publication.sha512}),
            size=publication.size,
            properties=dict(publication.properties),
            keep=terms.keep,
            ours=terms.ours,
            insist=terms.insist,
            before=terms.before,
            released=terms.released,
            held=terms.held,
            tags=terms.tags,
            members=terms.members,
            carry=terms.carry,
        )
        end = push.run()
    memory = push.memory
    return Outcome(
        changed=memory.changed,
        address=site.address(publication.name),
        archived=site.shown(memory.archived) if memory.archived else "",
        removed=tuple(site.shown(each) for each in memory.removed),
        kept=_shown(site, publication.name, [end.note])[0],
        same=end.same,
        notes=_shown(site, publication.name, push.notes),
    )


def roll_back(
    site: ImageSite,
    name: str,
    pick: Callable[[View], Choice],
    run: str,
    terms: Terms = Terms(),
    *,
    stop: Stop,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Choice, Outcome]:
    """Give an archived image its name back; the one that has it is archived. No bytes are sent.

    Earlier publications that were interrupted are put in order first. Then `pick` chooses among what is there, while
    others are kept away as far as the site can do that. By the rules of a publication: undone when it fails, finished
    or undone by the next push or `recover` when it is killed. Raises CCImagesError when somebody else changes the name
    at the same time.
    """
    push = Push(site, name, None, stop=stop, report=lambda done: None, say=say)
    push.pause, push.perseverance = terms.pause, terms.perseverance
    with site.exclusive(stop):
        push.wish = replace(push.wish, ours=terms.ours, held=terms.held)
        push.run()
        choice = pick(View(Wish(name=name, wanted=False), site.observe(name), Memory()))
        if (target := choice.target) is None:
            return choice, Outcome(
                changed=False,
                address=site.address(name),
                notes=_shown(site, name, (*push.memory.done, *push.notes)),
            )
        push.memory = Memory(done=push.memory.done)
        push.wish = replace(
            push.wish,
            wanted=True,
            digests=frozenset({target.sha512}),
            size=target.size,
            recalls=target.id,
            run=run,
            insist=True,
            carry=terms.carry,
        )
        push.run()
    memory = push.memory
    return choice, Outcome(
        changed=memory.changed,
        address=site.address(name),
        archived=site.shown(memory.archived) if memory.archived else "",
        notes=_shown(site, name, (*memory.done, *push.notes)),
    )


def retire(
    site: ImageSite, name: str, rules: Retirement, held: frozenset[str], ours: Callable[[str], bool], *, stop: Stop
) -> list[str]:
    """Carry out the rules for versions that were replaced; return what was done and what stays, a phrase each.

    What killed runs left of a publication is put in order first, as by `recover`, which raises the same.
    """
    push = Push(site, name, None, stop=stop, report=lambda done: None, say=lambda text: None)
    with site.exclusive(stop):
        push.wish = replace(push.wish, ours=ours, retires=rules, held=held)
        push.run()
    removed = (f"deleted {each}" for each in push.memory.removed)
    return [*_shown(site, name, (*push.memory.done, *removed, *push.notes))]


def recover(
    site: ImageSite,
    name: str,
    ours: Callable[[str], bool] = lambda run: True,
    held: frozenset[str] = frozenset(),
) -> list[str]:
    """Put in order what killed runs left of a publication; return what was done or cannot be, a phrase each.

    An interrupted publication of a version in `held` is undone, not finished.

    Raises CCImagesError for what only a person can decide, and for a young upload of a run that is not one of `ours`.
    """
    push = Push(site, name, None, stop=Never(), report=lambda done: None, say=lambda text: None)
    push.wish = replace(push.wish, ours=ours, held=held)
    push.run()
    return [*_shown(site, name, (*push.memory.done, *push.notes))]


def _shown(site: ImageSite, name: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Return texts in which archived versions of a name are named as the site itself names them."""
    archived = re.compile(rf"(?<![\w.+-]){re.escape(name)}-\d{{8}}(?:\.\d+)?(?!\w)")
    return tuple(archived.sub(lambda found: site.shown(found[0]), text) for text in texts)


def surplus(site: ImageSite, name: str, keep: int | None, newer: Sequence[Entry] = ()) -> list[Entry]:
    """Return the archived versions that retention would delete once those in `newer` are archived too."""
    archived = View(Wish(name=name), site.observe(name), Memory()).archived
    return views.surplus(archived, keep, len(newer))
