"""Pending updates of published images: what their own repositories have now, and what of it is for security."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cc_images import clock
from cc_images.api.places import Place, places
from cc_images.api.site_status import observed
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError
from cc_images.model.builds import Build
from cc_images.model.plan import Request
from cc_images.model.updates import Pending, Update, is_waived
from cc_images.sites.view import Memory, View, Wish, version_of
from cc_images.sources import feeds
from cc_images.sources.apt_index import is_later
from cc_images.sources.feeds import Feed
from cc_images.sources.pending import Asked
from cc_images.store import updates
from cc_images.store.published import Published
from cc_images.store.records import Store


def check_updates(
    request: Request,
    config: Config,
    *,
    ask_sites: bool = False,
    feed: Path | None = None,
    offline: bool = False,
    stop: threading.Event | None = None,
) -> list[Pending]:
    """Return what the published version of each image lacks on each site, and remember it in the store.

    Which version is published is what the store remembers, or with `ask_sites` what the sites say. A version that
    nobody can say it of has `unknown`. Raises UserError for unknown names, and for a `feed` that is none.
    """
    known = feeds.read(feed) if feed is not None else {}
    store = Store(config.store, stop)
    rows = [row for place in places(request, config) for row in _published(place, store, ask_sites)]
    builds = {key: build for row in rows if (build := store.build(*(key := (row.tag, row.arch, row.version))))}
    asked = Asked.by_now(store, [*builds.values()], offline=offline, stop=stop)
    today = clock.now().date()
    found: dict[tuple[str, str, str], Sequence[Update] | CCImagesError] = {
        key: _updates(build, asked, known, config) for key, build in builds.items()
    }
    done: list[Pending] = []
    for row in rows:
        lacks = found.get((row.tag, row.arch, row.version))
        if isinstance(lacks, CCImagesError):
            row = replace(row, unknown=lacks.message)
        elif lacks is not None:
            waivers = [*config.images[row.tag].waivers.items()]
            ignored = tuple(each for each in lacks if is_waived(each, waivers, today))
            row = replace(row, updates=tuple(each for each in lacks if each not in ignored), ignored=ignored)
        elif not row.unknown:
            row = replace(row, unknown=f"version {row.version or '?'} is not in this store")
        done.append(row)
    updates.remember(store, done, clock.now())
    return done


def _published(place: Place, store: Store, ask_sites: bool) -> Iterator[Pending]:
    """Yield the version that a site has of an image; nothing for one that was never published there."""
    row = Pending(site=place.site.name, name=place.name, tag=place.image.tag, arch=place.arch, version="")
    if not ask_sites:
        if last := Published(store.root).last(place.site.name, place.name, place.format):
            yield replace(row, version=last.version)
        return
    try:
        seen = observed(place.site, [(place.name, place.format)])[place.name, place.format]
    except CCImagesError as error:
        yield replace(row, unknown=error.message)
        return
    if (holder := View(Wish(name=place.name), seen, Memory()).holder) is not None:
        yield replace(row, version=version_of(holder.properties))


def _updates(build: Build, asked: Asked, feed: Feed, config: Config) -> Sequence[Update] | CCImagesError:
    """Return what a build lacks, with the vulnerabilities that a feed knows; or why nobody can say."""
    try:
        lacks = asked.updates(build)
        if not (feed and lacks):
            return lacks
        sources = asked.sources(build)
    except CCImagesError as error:
        return error
    release = config.images[build.tag].provenance.get("release", "")
    return [replace(each, flaws=_mended(each, feeds.of(feed, release, sources.get(each.name, each.name))))
            for each in lacks]  # fmt: skip


def _mended(update: Update, flaws: Sequence[feeds.Flaw]) -> tuple[str, ...]:
    """Return the numbers of those that the installed version has, and the offered one has not."""
    numbers = {
        flaw.number for flaw in flaws if is_later(flaw.fixed, update.has) and not is_later(flaw.fixed, update.offered)
    }
    return tuple(sorted(numbers))
