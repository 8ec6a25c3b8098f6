"""Rollbacks on all sites of an image, and the holds that keep a bad version from coming back by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cc_images import clock
from cc_images.api.inspect import Bench
from cc_images.api.open_run import opened
from cc_images.api.places import Place, places
from cc_images.api.site_status import AT_ONCE, observed
from cc_images.config.loader import Config
from cc_images.engine.events import Observer
from cc_images.engine.withdraw import By, told
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.catalog import Arch
from cc_images.model.plan import Request
from cc_images.model.redaction import without_secrets
from cc_images.model.run import IfBusy
from cc_images.model.site import Site
from cc_images.model.status import Hold, Rollback
from cc_images.planner.selection import select
from cc_images.sites import open_site
from cc_images.sites.rollbacks import Choice, Goal, choose
from cc_images.sites.view import Memory, View, Wish, version_of
from cc_images.store.holds import Holds
from cc_images.store.published import Published
from cc_images.store.records import Store

_log = logging.getLogger(__name__)


def rollback(
    request: Request,
    config: Config,
    *,
    to: str = "",
    why: str = "",
    dry_run: bool = False,
    bench: Bench,
    say: Callable[[str], None] = lambda text: None,
) -> list[Rollback]:
    """Give archived versions of the request's images their names back, on its sites.

    `to` is a version. Without it the newest version in force on these sites goes, wherever it is, and the newest one
    that is older and not held comes back. A younger version that is replaced by an older one is held, before any site
    is changed: no run publishes it again by itself. With `dry_run` nothing is changed.

    Raises UserError for names that nothing has, and CCImagesError when the store cannot be written to: then no site was
    changed.
    """
    store, reason = Store(config.store), readable(why, "--why")
    looked = _looked([_aim(each) for each in places(request, config)], store)
    bad = _newest_in_force(looked) if not to else {}
    holds = Holds(store)
    aims = {
        each.label: Goal(version=to, bad=bad.get(each.label, ""), held=holds.held(each.tag, each.arch))
        for _, each, _ in looked
    }
    if dry_run:
        return [_told(each, aims[each.label], view, error) for _, each, (view, error) in looked]
    rows: list[Rollback] = []
    images = {(each.tag, each.arch) for _, each, _ in looked}
    with opened(config, Observer(), words=bench.words, stop=bench.stop) as this:
        this.take_turn(images, IfBusy.SHARE, bench.stop)
        _hold_first(store, looked, aims, reason)
        by = By(store=this.store, run=this.run.name, opened=open_site, stop=bench.stop, say=say)
        for site, each, (_, error) in looked:
            row = by.withdraw(site, each, aims[each.label])
            rows.append(replace(row, error=error or row.error) if row.error else row)
        this.note_end(failed=any(row.error for row in rows), stopped=bench.stop.is_set())
    if this.refused is not None and not rows:
        raise this.refused
    return rows


def _told(each: Rollback, goal: Goal, view: View | None, error: str) -> Rollback:
    """Return what would become of an image, and which versions are archived."""
    if view is None:
        return told(each, Choice(why=error))
    row = told(each, choose(view, goal))
    versions = dict.fromkeys(version_of(entry.properties) or entry.name for entry in view.archived)
    archived = f"archived: {', '.join(versions)}" if versions else ""
    return replace(row, note="; ".join(filter(None, (row.note, archived))))


Aim = tuple[Site, Rollback]
Looked = tuple[Site, Rollback, tuple[View | None, str]]
"""An image on a site, with what the site has of it, or why that is not known."""


def _aim(place: Place) -> Aim:
    image, arch = place.image, place.arch
    return place.site, Rollback(site=place.site.name, name=place.name, tag=image.tag, arch=arch, format=place.format)


def _looked(places: Sequence[Aim], store: Store) -> list[Looked]:
    """Ask all sites at once. An image that a site has never had is left out, unless that is so of all."""
    published = Published(store.root)

    def ask(place: Aim) -> Looked:
        site, each = place
        try:
            seen = observed(site, [(each.name, each.format)])[each.name, each.format]
        except CCImagesError as error:
            return site, each, (None, error.message)
        last = published.last(site.name, each.name, each.format)
        if not seen and last is not None:
            return site, each, (None, f"the site has no image of this name, and version {last.version} was put there")
        return site, each, (View(Wish(name=each.name, wanted=False), seen, Memory()), "")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked = list(pool.map(ask, places))
    return [each for each in looked if each[2][0] is None or each[2][0].seen] or looked


def _newest_in_force(looked: Sequence[Looked]) -> dict[str, str]:
    """Return for each image the newest version that has its name on one of the sites: the one that is to go."""
    found: dict[str, str] = {}
    for _, each, (view, _) in looked:
        if view is not None and view.holder is not None:
            found[each.label] = max(found.get(each.label, ""), version_of(view.holder.properties))
    return found


def _hold_first(store: Store, looked: Sequence[Looked], aims: Mapping[str, Goal], why: str) -> None:
    """Hold what is to be replaced by something older. Raises CCImagesError when that cannot be written."""
    noted: dict[tuple[str, str, str], Hold] = {}
    now = clock.now().timestamp()
    for _, each, (view, _) in looked:
        choice = choose(view, aims[each.label]) if view is not None else Choice()
        if choice.back and choice.before:
            said = why or f"rolled back to {choice.after}"
            hold = Hold(tag=each.tag, arch=each.arch, version=choice.before, since=now, why=said)
            noted[each.tag, each.arch, choice.before] = hold
    if noted:
        Holds(store).put(*noted.values())


# -- holds -------------------------------------------------------------------------------------------------------------


def hold(request: Request, config: Config, version: str, *, why: str, release: bool = False) -> list[Hold]:
    """Hold a version of an image, or release it; return what was noted, one for each architecture that has it.

    Raises UserError for a version that the store does not know, one that is not held, and a reason that says nothing.
    """
    store, why = Store(config.store), readable(why, "--why")
    if not (release or why):
        raise UserError("--why says nothing", hint="say why the version is held, for those who read it")
    holds = Holds(store)
    chosen, _ = select(request, config, clock.now().date())
    known = [each for each in chosen if _knows(store, holds, each.image.tag, each.arch, version, release)]
    if not known:
        tags = ", ".join(sorted({each.image.tag for each in chosen}))
        said = "is not held" if release else "is not in the store, and on no site that this store knows"
        raise UserError(f"version {version} of {tags} {said}", hint="`cc-images list` and `status` show versions",
                        reason=Reason.GONE)  # fmt: skip
    now = clock.now().timestamp()
    noted = [
        Hold(tag=each.image.tag, arch=each.arch, version=version, since=now, why=why, released=release)
        for each in known
    ]
    holds.put(*noted)
    return noted


def _knows(store: Store, holds: Holds, tag: str, arch: Arch, version: str, release: bool) -> bool:
    on_hold = holds.of(tag, arch).get(version)
    if release:
        return on_hold is not None and not on_hold.released
    published = any((put.tag, put.arch, put.version) == (tag, arch, version) for put in Published(store.root).all())
    return on_hold is not None or published or any(build.version == version for build in store.builds(tag, arch))


def readable(text: str, option: str) -> str:
    """Return what a person has typed, in one line and without secrets. Raises UserError for what cannot be printed."""
    if not text.isprintable():
        raise UserError(f"{option} has characters that cannot be printed", hint="one line of plain text, in UTF-8")
    return without_secrets(text.strip())
