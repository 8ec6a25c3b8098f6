"""Pulls: what sites lack of a catalogue is fetched, and published there by the rules of a push."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cc_images import clock
from cc_images.api.inspect import Bench
from cc_images.api.open_run import OpenRun, opened
from cc_images.api.trust import require_signed, required_keys
from cc_images.config.loader import Config
from cc_images.engine.events import Observer
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host.files import clear_errors, file_digest
from cc_images.model.plan import Request
from cc_images.model.pulling import Pulled
from cc_images.model.site import Site
from cc_images.model.status import Put
from cc_images.planner.selection import sites_of
from cc_images.sites import open_site
from cc_images.sites.base import ImageSite, Publication
from cc_images.sites.carrying import LISTED, listed
from cc_images.sites.entry import Entry
from cc_images.sites.publish import Outcome, Terms, publish, roll_back
from cc_images.sites.pulling import PULLED, Named, Way, way_to
from cc_images.sites.rollbacks import Choice
from cc_images.sites.targets import arches_of, formats_of, takes
from cc_images.sites.view import Memory, View, Wish, version_of
from cc_images.sources import artifacts
from cc_images.sources.catalogues import Catalogue, Offered
from cc_images.store.holds import Holds
from cc_images.store.published import Published


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """An order: from where, which images (patterns; none: all), to which sites (none: all)."""

    source: str
    names: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """How a pull is ended, who hears of it, and whose signatures count."""

    bench: Bench
    say: Callable[[str], None]
    trusted: Path | None


def pull(order: Pull, config: Config, *, bench: Bench, say: Callable[[str], None] = lambda text: None) -> list[Pulled]:
    """Bring sites to what a catalogue has in force; return what became of each image on each site.

    An image that a site has already costs no bytes, and one that it has in its archive is brought back from there. A
    site or image that fails is no reason to leave the others. Raises UserError for unknown names, and CCImagesError for
    a catalogue that cannot be read.
    """
    catalogue, own = _source(order.source, config)
    offered = _wanted(order.names, catalogue.current())
    signers = required_keys(config) if any(site.refuses_unsigned for site in config.sites) else None
    targets = [site for site in sites_of(Request(tags=(), sites=order.sites), config) if site.name != own]
    if not targets:
        raise UserError("no site is to get anything", hint="name others with -s, or add one to sites.yaml")
    hands = Hands(bench=bench, say=say, trusted=signers)
    rows: list[Pulled] = []
    with opened(config, Observer(), words=bench.words, stop=bench.stop) as this:
        for name, place in offered.items():
            try:
                found = catalogue.offered(name, place)
            except CCImagesError as error:
                rows += [Pulled(site=site.name, name=name, error=error.message) for site in targets]
                continue
            rows += [_pulled(found, site, order, this, hands) for site in targets]
        this.note_end(failed=any(row.error for row in rows), stopped=bench.stop.is_set())
    if this.refused is not None and not rows:
        raise this.refused
    return rows


def _source(source: str, config: Config) -> tuple[Catalogue, str]:
    """Return the catalogue, and the name of the site that it is here, if it is one."""
    for site in config.sites:
        if site.name == source and site.catalogue:
            return Catalogue.at(f"{site.catalogue}/{site.scope}"), site.name
    return Catalogue.at(source), ""


def _wanted(patterns: Sequence[str], current: dict[str, str]) -> dict[str, str]:
    """Return the named images with their places, all without names. Raises UserError for one that is not there."""
    if not patterns:
        return current
    found: dict[str, str] = {}
    for pattern in patterns:
        fitting = [name for name in current if fnmatch.fnmatch(name.lower(), pattern.lower())]
        if not fitting:
            raise UserError(
                f"the catalogue has no image {pattern}", hint=f"it has {', '.join(current) or 'none'}",
                reason=Reason.UNKNOWN_IMAGE,
            )  # fmt: skip
        found |= {name: current[name] for name in fitting}
    return found


def _pulled(found: Offered, site: Site, order: Pull, this: OpenRun, hands: Hands) -> Pulled:
    """Bring one site to what the catalogue has of one image; return what became of it, also when that failed."""
    row = Pulled(site=site.name, name=found.name, after=found.version)
    if hands.bench.stop.is_set():
        return replace(row, error="not begun: interrupted")
    if why := _unfit(found, site, order, this):
        return replace(row, after="", note=why)
    try:
        if site.refuses_unsigned and hands.trusted is not None:
            file = found.file.basename
            require_signed(found.properties, ("sha256", found.file.sha256), hands.trusted, file=file, arch=found.arch)
        with this.store.lock(f"push {site.cloud or site.name} {found.name}", stop=hands.bench.stop):
            at = open_site(site, found.format)
            view = View(Wish(name=found.name, wanted=False), at.observe(found.name), Memory())
            row = replace(row, before=version_of(view.holder.properties) if view.holder is not None else "")
            way = way_to(Named(version=found.version, sha512=found.sha512, size=found.size), view, this.store.knows)
            if way.has:
                _remember(found, site, at, this)
                return replace(row, note="it has it")
            if way.stays:
                return replace(row, after=row.before, note=way.stays)
            if order.dry_run:
                return replace(row, note="would be published")
            if way.back is not None:
                outcome = _brought_back(found, way.back, at, site, this, hands)
            else:
                outcome = _sent(found, way, at, site, this, hands)
            if outcome.changed or outcome.same:
                _remember(found, site, at, this)
    except CCImagesError as error:
        return replace(row, error=error.message)
    note = "; ".join(filter(None, (outcome.kept, *outcome.notes)))
    return replace(row, done=outcome.changed, after=found.version if outcome.same else row.before, note=note)


def _unfit(found: Offered, site: Site, order: Pull, this: OpenRun) -> str:
    """Return why a site gets nothing, if that is no failure."""
    if not takes(site, found.format):
        return f"left out: it takes {', '.join(formats_of(site))}, and the catalogue has {found.format}"
    if found.arch not in (arches := arches_of(site)):
        return f"left out: it takes {', '.join(arches)}, and this is for {found.arch}"
    if (site.wave > 1 or site.refuses_insecure) and site.name not in order.sites:
        return "left out: it has a wave or a gate of its own, which a pull does not know; -s names it all the same"
    hold = Holds(this.store).of(_tag(found), found.arch).get(found.version)
    if hold is not None and not hold.released:
        return f"version {found.version} is held here: {hold.why}"
    return ""


def _tag(found: Offered) -> str:
    return found.name.removesuffix(f"-{found.arch.upper()}").lower()


def _brought_back(found: Offered, kept: Entry, at: ImageSite, site: Site, this: OpenRun, hands: Hands) -> Outcome:
    """Give an archived image its name back; the catalogue has gone back to it."""

    def pick(view: View) -> Choice:
        again = next((entry for entry in view.archived if entry.id == kept.id), None)
        return Choice(target=again, holder=view.holder)

    terms = Terms(ours=this.store.knows, carry=site.carry)
    _, outcome = roll_back(at, found.name, pick, this.run.name, terms, stop=hands.bench.stop, say=hands.say)
    return outcome


def _sent(found: Offered, way: Way, at: ImageSite, site: Site, this: OpenRun, hands: Hands) -> Outcome:
    """Fetch a version, unless the store has it, and publish it."""
    hands.say(f"fetching {found.name} {found.version} ({found.size >> 20} MiB)")
    blob = artifacts.fetch(found.file, this.store, {}, stop=hands.bench.stop)
    path = this.run.use(blob.path)
    this.store.note_artifact(blob.digest, found.file.basename)
    if path.stat().st_size != found.size or file_digest(path, "sha512") != found.sha512:
        raise CCImagesError(f"{found.file.shown} is not what its manifest says", reason=Reason.DIGEST)
    said = {name: value for name, value in found.properties.items() if name != LISTED}
    publication = Publication(
        name=found.name,
        path=path,
        sha512=found.sha512,
        size=found.size,
        properties=listed(said | dict(site.properties) | {PULLED: found.place}),
        run=this.run.name,
        details={
            "version": found.version,
            "arch": found.arch,
            "sha256": blob.digest,
        },
    )
    last = Published(this.store.root).last(site.name, found.name, found.format)
    repeated = last is not None and (last.version, last.place) == (found.version, at.place()) and bool(last.place)
    terms = Terms(
        keep=site.keep,
        ours=this.store.knows,
        tags=frozenset(site.tags),
        members=frozenset(site.members),
        carry=site.carry,
        before=repeated and not way.by_us,
    )
    return publish(at, publication, terms, stop=hands.bench.stop, say=hands.say)


def _remember(found: Offered, site: Site, at: ImageSite, this: OpenRun) -> None:
    """Note in the store what the site has now; that this fails is no reason to fail."""
    now = clock.now().timestamp()
    put = Put(site=site.name, name=found.name, tag=_tag(found), arch=found.arch, version=found.version,
              since=now, seen=now, place=at.place(), format=found.format)  # fmt: skip
    try:
        with this.store.lock("books"), clear_errors(this.store.root):
            Published(this.store.root).add(put)
    except CCImagesError as error:
        this.complaints.append(f"the store does not know what was pulled: {error.message}")
