"""Retirement on all sites: what becomes of old versions, and the carrying out of what is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from cc_images import clock
from cc_images.api.inspect import Bench
from cc_images.api.places import Place, places
from cc_images.api.site_status import observed
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, UserError
from cc_images.model.catalog import Retirement
from cc_images.model.plan import Request
from cc_images.model.retirement import Fate, Retired
from cc_images.sites import open_site
from cc_images.sites.publish import retire as carry_out
from cc_images.sites.retiring import DELETED, calendar
from cc_images.sites.view import Memory, View, Wish, version_of
from cc_images.store.holds import Holds
from cc_images.store.records import Store


def upcoming(request: Request, config: Config) -> tuple[list[Fate], list[Retired]]:
    """Return what becomes of the versions that the sites have, soonest first, and which sites could not be asked.

    Nothing is changed. Raises UserError when no site or image has rules.
    """
    found: list[Fate] = []
    failed: list[Retired] = []
    store = Store(config.store)
    for place, rules in _ruled(request, config):
        try:
            seen = observed(place.site, [(place.name, place.format)])[place.name, place.format]
            view = View(_wish(place, rules, store), seen, Memory())
            found += _fates(place, view)
        except CCImagesError as error:
            failed.append(Retired(site=place.site.name, name=place.name, error=error.message))
    return sorted(found, key=lambda each: (each.when, each.site, each.name)), failed


def retire(request: Request, config: Config, *, bench: Bench) -> list[Retired]:
    """Carry out what is due on all sites; a site that fails is no reason to leave the others.

    Raises UserError when no site or image has rules.
    """
    store = Store(config.store, bench.stop)
    rows: list[Retired] = []
    for place, rules in _ruled(request, config):
        site, row = place.site, Retired(site=place.site.name, name=place.name)
        if bench.stop.is_set():
            rows.append(replace(row, error="not begun: interrupted"))
            continue
        held = frozenset(Holds(store).held(place.image.tag, place.arch))
        try:
            with store.lock(f"push {site.cloud or site.name} {place.name}", stop=bench.stop):
                done = carry_out(open_site(site, place.format), place.name, rules, held, store.knows, stop=bench.stop)
            rows.append(replace(row, done=tuple(done)))
        except CCImagesError as error:
            rows.append(replace(row, error=error.message))
    return rows


def _ruled(request: Request, config: Config) -> Iterator[tuple[Place, Retirement]]:
    """Yield the places that have rules: those of the image, else of the site. Raises UserError when none has."""
    today = clock.now().date()
    found = [
        (place, replace(rules, ended=_ended(place.image.eol, today)))
        for place in places(request, config)
        if (rules := place.image.retire or place.site.retire) is not None
    ]
    if not found:
        raise UserError(
            "nothing says when old versions retire",
            hint=f"add `retire: {{hide-after: 12 months}}` to a site in {config.files['sites.yaml']}, or to an image",
        )
    yield from found


def _ended(eol: date | None, today: date) -> str:
    return eol.isoformat() if eol is not None and eol < today else ""


def _wish(place: Place, rules: Retirement, store: Store) -> Wish:
    held = frozenset(Holds(store).held(place.image.tag, place.arch))
    return Wish(name=place.name, wanted=False, retires=rules, held=held, now=clock.now())


def _fates(place: Place, view: View) -> Iterator[Fate]:
    """Yield what becomes of the images of a name; who uses what is to be deleted is asked."""
    site = open_site(place.site, place.format)
    for due in calendar(view):
        note = due.stays
        now = due.when <= view.wish.now
        if due.fate == DELETED and not note and now:
            count = site.users(due.entry)
            said = f"{count} servers use it" if count else ""
            note = "nobody can say whether servers use it" if count is None else said
        yield Fate(
            site=place.site.name,
            name=due.entry.name,
            version=version_of(due.entry.properties),
            fate=due.fate,
            when=due.when,
            due=now and not note,
            note=note,
        )
