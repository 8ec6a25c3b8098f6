"""Rollbacks on all sites of an image, and the holds that keep a bad version from coming back by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cc_images import clock
from cc_images.api.inspect import Bench
from cc_images.api.open_run import OpenRun, opened
from cc_images.api.site_status import AT_ONCE, observed
from cc_images.config.loader import Config
from cc_images.engine.events import Observer
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host.files import clear_errors
from cc_images.model.catalog import Arch, Site
from cc_images.model.plan import Request
from cc_images.model.run import IfBusy, State
from cc_images.model.status import Hold, Put, Rollback
from cc_images.planner.selection import select, sites_of
from cc_images.sites import open_site
from cc_images.sites.publish import Terms, roll_back
from cc_images.sites.rollbacks import Choice, choose
from cc_images.sites.targets import formats_for
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

    `to` is a version; without it the newest that is older than the one in force and not held. What is replaced is held:
    no scheduled run publishes it again. With `dry_run` nothing is changed.

    Raises UserError for names that nothing has, and CCImagesError when the store cannot be written to.
    """
    store, holds = Store(config.store), Holds(Store(config.store))
    chosen, _ = select(request, config, clock.now().date())
    places = [
        (site, Rollback(site=site.name, name=image.published_name(arch), tag=image.tag, arch=arch, format=out))
        for site in sites_of(request, config)
        for image, arch in chosen
        for out in formats_for(site, image, arch)
    ]
    if not places:
        raise UserError("no site takes any of the images", hint="name others with -s", reason=Reason.UNKNOWN_SITE)
    looked = _looked(places, lambda place: choose_for(place[1], place[0], to, holds))
    if not request.arches:  # not every site has every architecture
        looked = [each for each in looked if not each[2].empty] or looked
    if dry_run or not any(choice.target for _, _, choice in looked):
        return [_told(each, choice) for _, each, choice in looked]
    images = {(each.tag, each.arch) for _, each, choice in looked if choice.target is not None}
    with opened(config, Observer(), words=bench.words, stop=bench.stop) as this:
        this.take_turn(images, IfBusy.SHARE, bench.stop)
        done = [_carried_out(site, each, choice, this, bench.stop, say) for site, each, choice in looked]
        good = not any(each.error for each in done)
        this.journal.note(state=State.OK if good else State.FAILED, seconds=this.seconds)
        _remember(store, done, why)
    if this.refused is not None:
        raise this.refused
    return done


def choose_for(each: Rollback, site: Site, to: str, holds: Holds) -> Choice:
    """Ask a site which image would get the name. Raises CCImagesError when it cannot be asked."""
    seen = observed(site, [(each.name, each.format)])[each.name, each.format]
    held = {hold.version for hold in holds.of(each.tag, each.arch).values() if not hold.released}
    return choose(View(Wish(name=each.name, wanted=False), seen, Memory()), to, held)


def _looked(
    places: Sequence[tuple[Site, Rollback]], look: Callable[[tuple[Site, Rollback]], Choice]
) -> list[tuple[Site, Rollback, Choice]]:
    """Ask all sites at once; one that cannot be asked has no image to bring back."""

    def ask(place: tuple[Site, Rollback]) -> tuple[Site, Rollback, Choice]:
        try:
            return (*place, look(place))
        except CCImagesError as error:
            return (*place, Choice(why=error.message))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, places))


def _told(each: Rollback, choice: Choice) -> Rollback:
    """Return what would become of an image."""
    before = version_of(choice.holder.properties) if choice.holder is not None else ""
    after = version_of(choice.target.properties) if choice.target is not None else before
    note = "it has the name already" if choice.already else ""
    return replace(each, before=before, after=after, note=note, error=choice.why)


def _carried_out(
    site: Site, each: Rollback, choice: Choice, this: OpenRun, stop: threading.Event, say: Callable[[str], None]
) -> Rollback:
    told = _told(each, choice)
    if choice.target is None:
        return told
    try:
        with this.store.lock(f"push {site.cloud or site.name} {each.name}", stop=stop):
            at = open_site(site, each.format)
            outcome = roll_back(
                at, each.name, choice.target, this.run.name, Terms(ours=this.store.knows), stop=stop, say=say
            )
            place = at.place()
    except CCImagesError as error:
        _log.warning("%s", error.message)
        return replace(told, after=told.before, error=error.message)
    _log.info("%s: %s: %s has the name again", site.name, each.name, told.after)
    now = clock.now().timestamp()
    put = Put(site=site.name, name=each.name, tag=each.tag, arch=each.arch, version=told.after, since=now, seen=now,
              place=place, format=each.format)  # fmt: skip
    with this.store.lock("books"), clear_errors(this.store.root):
        Published(this.store.root).add(put)
    return replace(told, done=True, archived=outcome.archived, note="; ".join(outcome.notes))


def _remember(store: Store, done: Sequence[Rollback], why: str) -> None:
    """Hold the versions that were replaced, and release those that have the name again."""
    now = clock.now().timestamp()
    changed: dict[tuple[str, str, str], Hold] = {}
    for each in done:
        if not each.done:
            continue
        reason = why or f"rolled back to {each.after}"
        if each.before:
            changed[each.tag, each.arch, each.before] = Hold(
                tag=each.tag, arch=each.arch, version=each.before, since=now, why=reason
            )
        if each.after in Holds(store).of(each.tag, each.arch):
            changed[each.tag, each.arch, each.after] = Hold(
                tag=each.tag, arch=each.arch, version=each.after, since=now, released=True
            )
    if changed:
        Holds(store).put(*changed.values())


# -- holds -------------------------------------------------------------------------------------------------------------


def hold(request: Request, config: Config, version: str, *, why: str, release: bool = False) -> list[Hold]:
    """Hold a version of an image, or release it; return what was noted, one for each architecture that has it.

    Raises UserError for a version that the store does not know, and one that is not held.
    """
    store = Store(config.store)
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
