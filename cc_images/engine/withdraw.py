"""Taking a version back: one image on one site gets its older version again, and the store remembers it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from cc_images import clock
from cc_images.errors import CCImagesError
from cc_images.host.files import clear_errors
from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.model.status import Put, Rollback
from cc_images.sites.base import ImageSite
from cc_images.sites.publish import Terms, roll_back
from cc_images.sites.rollbacks import Choice, Goal, choose
from cc_images.sites.view import Memory, View, Wish, version_of
from cc_images.store.holds import Holds
from cc_images.store.published import Published
from cc_images.store.records import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who takes a version back: a run of a store."""

    store: Store
    run: str
    opened: Callable[[Site, Format], ImageSite]
    """Returns a site as something to publish to."""
    stop: threading.Event
    say: Callable[[str], None] = lambda text: None

    def look(self, site: Site, name: str, disk_format: Format) -> View:
        """Return what a site has of a name. Raises CCImagesError."""
        return View(Wish(name=name, wanted=False), self.opened(site, disk_format).observe(name), Memory())

    def withdraw(self, site: Site, each: Rollback, goal: Goal) -> Rollback:
        """Roll one image back on one site; return what became of it, also when that failed.

        What is to go must be held before: else the next run would publish it again.
        """
        store, stop = self.store, self.stop
        if stop.is_set():
            return replace(each, error="not begun: interrupted")
        found: list[Choice] = []

        def pick(view: View) -> Choice:
            choice = choose(view, goal)
            held = Holds(store).held(each.tag, each.arch)
            if choice.target is not None and choice.back and choice.before not in held:
                said = f"version {choice.before} was published meanwhile: look at it, then roll back again"
                choice = Choice(holder=choice.holder, why=said)
            found.append(choice)
            return choice

        try:
            with store.lock(f"push {site.cloud or site.name} {each.name}", stop=stop):
                at = self.opened(site, each.format)
                terms = Terms(ours=store.knows, carry=site.carry)
                choice, outcome = roll_back(at, each.name, pick, self.run, terms, stop=stop, say=self.say)
                place = at.place()
        except CCImagesError as error:
            _log.warning("%s", error.message)
            before = told(each, found[-1]) if found else each
            return replace(before, after=self._now(site, each) or before.before, error=error.message)
        done = replace(told(each, choice), done=choice.target is not None, archived=outcome.archived)
        notes = [done.note, *outcome.notes]
        if done.done:
            _log.info("%s: %s: %s has the name again", site.name, each.name, done.after)
            notes += _remembered(site, done, place, store)
        return replace(done, note="; ".join(filter(None, notes)))

    def _now(self, site: Site, each: Rollback) -> str:
        """Return the version that has the name after a failure, as far as the site says."""
        try:
            holder = self.look(site, each.name, each.format).holder
        except CCImagesError:
            return ""
        return version_of(holder.properties) if holder is not None else ""


def _remembered(site: Site, done: Rollback, place: str, store: Store) -> list[str]:
    """Note in the store what the site has now; return why that could not be."""
    now = clock.now().timestamp()
    put = Put(site=site.name, name=done.name, tag=done.tag, arch=done.arch, version=done.after, since=now, seen=now,
              place=place, format=done.format)  # fmt: skip
    try:
        with store.lock("books"), clear_errors(store.root):
            Published(store.root).add(put)
    except CCImagesError as error:
        return [f"the store does not know it: {error.message}"]
    held = done.after in Holds(store).held(done.tag, done.arch)
    return [f"it is held: `cc-images release {done.tag} {done.after}`"] if held else []


def told(each: Rollback, choice: Choice) -> Rollback:
    """Return what would become of an image."""
    return replace(each, before=choice.before, after=choice.after, note=choice.note, error=choice.why)
