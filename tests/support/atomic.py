"""A push that nobody disturbs, on the images of one name: all its steps at once, or the first few of them.

For models of what is above publishing: they take a push as one event, which may be cut short.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cc_images.sites.base import Delete, Share, Upload, after
from cc_images.sites.entry import Entry, staged_name
from cc_images.sites.learning import begin, learn, looked
from cc_images.sites.reconcile import decide
from cc_images.sites.steps import End, Look, Members, Use, Wait
from cc_images.sites.view import Memory, View, Wish
from tests.support.exploring import Broken

NAME = "N"
START = datetime(2026, 1, 1, tzinfo=UTC)

Images = tuple[Entry, ...]


def version(content: str) -> dict[str, str]:
    """Return the properties of a version; its name is its content."""
    return {"build-version": content}


def first(content: str) -> Entry:
    """Return the image of a version that was published long ago."""
    return Entry(id=f"i-{content}", name=NAME, sha512=content, size=1, created=START, properties=version(content),
                 made=True, made_for=NAME, run="old", visibility="shared")  # fmt: skip


def seen(images: Images) -> View:
    """Return what a site has."""
    return View(Wish(name=NAME, wanted=False), images, Memory())


def in_force(images: Images) -> str:
    """Return the version that has the name; empty: none."""
    holder = seen(images).holder
    return holder.properties["build-version"] if holder is not None else ""


def pushed(images: Images, wish: Wish, run: str, steps: int = 60) -> tuple[Images, End | None]:
    """Return the images after a push, or after its first steps, and how it ended; None: it has not."""
    memory = Memory(ids=(run, f"{run}-again"))
    memory = looked(wish, images, memory)
    acts, vacant = 0, 0
    had_it = bool(images)
    for _ in range(60):
        step = decide(wish, images, memory)
        if isinstance(step, End):
            return images, step
        if isinstance(step, Look | Wait | Members | Use):
            memory = looked(wish, images, memory)
            continue
        if acts == steps:
            return images, None
        acts += 1
        changed: Entry | None
        if isinstance(step, Upload):
            changed = _uploaded(step, wish, run, images)
        else:
            assert not isinstance(step, Share), "nothing is shared"
            changed = None if isinstance(step, Delete) else after(step)
        gone = step.id if isinstance(step, Upload) else step.entry.id
        images, memory = learn(wish, images, begin(memory, step), step, changed)
        images = tuple(sorted(images, key=lambda each: each.id))
        vacant = vacant + 1 if had_it and not seen(images).holders else 0
        if vacant > 1:
            raise Broken(f"the name is vacant for more than a call: {type(step).__name__} of {gone}")
    raise AssertionError("a push takes no end")


def _uploaded(step: Upload, wish: Wish, run: str, images: Images) -> Entry:
    (content,) = wish.digests
    number = 1 + max((int((each.created - START).total_seconds()) for each in images), default=0)
    return replace(first(content), id=step.id, name=staged_name(NAME, run), created=START + timedelta(seconds=number),
                   run=run, target=NAME, properties=dict(wish.properties), replaces=step.replaces,
                   intended=step.visibility, visibility="private")  # fmt: skip
