"""The state of sites: what they have, what a push would do there, and how to clear up after dead runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date

from cc_images import clock
from cc_images.api.open_run import clear_up
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError
from cc_images.host import leftovers as leftovers_here
from cc_images.host.files import clear_errors
from cc_images.model.catalog import Format
from cc_images.model.plan import PushJob, Request
from cc_images.model.site import Site
from cc_images.model.status import Put
from cc_images.planner.selection import select, sites_of
from cc_images.planner.snapshot import Snapshot
from cc_images.sites import LOOK, open_site, reconcile
from cc_images.sites.base import ImageSite, Publication
from cc_images.sites.cloud import Patience
from cc_images.sites.entry import Entry
from cc_images.sites.publish import recover
from cc_images.sites.remarks import disorder, remarks
from cc_images.sites.steps import End
from cc_images.sites.targets import formats_for, name_for
from cc_images.sites.view import Memory, View, Wish, surplus
from cc_images.sources import git
from cc_images.store.published import Published
from cc_images.store.records import Store

AT_ONCE = 8
"""Sites that are asked at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """The state of one image on a site: the one that has the name, and how many archived ones.

    `remarks` are what differs from what cc-images has made of it; `error` is why nothing has the name for certain.
    """

    site: str
    name: str
    current: Entry | None = None
    archived: int = 0
    remarks: tuple[str, ...] = ()
    error: str = ""


def site_status(request: Request, config: Config) -> list[SiteStatus]:
    """Ask the sites, all at once, what they have of the images that a request names.

    Each is logged in to once. A site that cannot be asked for one image is asked for no other.
    """
    chosen, _ = select(request, config, clock.now().date())
    published = Published(config.store)
    asked = sites_of(request, config)

    def ask(site: Site) -> list[SiteStatus]:
        questions = [(name_for(site, image, arch, out), out) for image, arch in chosen
                     for out in formats_for(site, image, arch)]  # fmt: skip
        try:
            seen = observed(site, questions)
        except CCImagesError as error:
            return [SiteStatus(site=site.name, name=name, error=error.message) for name, _ in questions]
        return [_standing(site, name, seen[name, out], published.last(site.name, name, out)) for name, out in questions]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [each for found in pool.map(ask, asked) for each in found]


def _standing(site: Site, name: str, seen: Sequence[Entry], last: Put | None) -> SiteStatus:
    view = View(Wish(name=name, wanted=False), seen, Memory())
    error = ""
    if len(view.holders) > 1:
        error = f"{len(view.holders)} images have this name: {', '.join(entry.id for entry in view.holders)}"
    return SiteStatus(
        site=site.name,
        name=name,
        current=view.holder,
        archived=len(view.archived),
        remarks=tuple(remarks(view, last.version if last is not None else "")),
        error=error,
    )


def observed(
    site: Site, questions: Sequence[tuple[str, Format]], patience: Patience = LOOK
) -> dict[tuple[str, Format], list[Entry]]:
    """Return what a site has of each name; names and formats that it keeps together are asked for together."""
    formats = list(dict.fromkeys(out for _, out in questions))
    together = [formats] if site.cloud and formats else [[out] for out in formats]
    found: dict[tuple[str, Format], list[Entry]] = {}
    for group in together:
        names = list(dict.fromkeys(name for name, out in questions if out in group))
        seen = open_site(site, group[0], patience).observe_each(names)
        found |= {(name, out): seen[name] for name, out in questions if out in group}
    return found


def mend(config: Config) -> list[str]:
    """Clear up after dead runs, here and on every site that answers; return what was found, a line each."""
    store = Store(config.store)
    with clear_errors(store.root), store.lock("runs"):  # a run that is just starting has its lock when it is free
        done = [leftovers_here.remove(each) for each in leftovers_here.find(leftovers_here.dead_runs(store.root))]
    done += [f"run {run}: removed its folder" for run in clear_up(store)]
    damaged = [blob.name for blob in sorted(store.blobs.all()) if store.blobs.is_damaged(blob.name)]
    done += [f"store: {digest[:12]} was damaged: moved to quarantine, the next -b rebuilds it" for digest in damaged]
    done += [f"{path}: differed from its commit: removed, next use checks it out again" for path in git.damaged(store)]
    return done + _each_name(config, store, lambda opened, name: recover(opened, name, store.knows))


def leftovers(config: Config) -> list[str]:
    """Return what `mend` would find, a line each, and change nothing."""
    store = Store(config.store)
    with clear_errors(store.root), store.lock("runs"):
        dead = leftovers_here.dead_runs(store.root)
    found = [each.what for each in leftovers_here.find(dead)]
    found += [f"run {work.name}: its folder" for work in dead]
    damaged = [blob.name for blob in sorted(store.blobs.all()) if store.blobs.has_other_content(blob.name)]
    found += [f"store: {digest[:12]} is damaged" for digest in damaged]
    return found + _each_name(config, store, _left)


def _left(opened: ImageSite, name: str) -> list[str]:
    view = View(Wish(name=name, wanted=False), opened.observe(name, lost=True), Memory())
    return [f"upload of run {view.run_of(each) or '?'}" for each in view.staged] + disorder(view)


def _each_name(config: Config, store: Store, look: Callable[[ImageSite, str], list[str]]) -> list[str]:
    """Look at every name of the catalogue that is not in order on a site; return what was seen, a line each."""
    if not config.images:
        return []
    found: list[str] = []
    chosen, _ = select(Request(tags=tuple(config.images)), replace(config, arches=()), date.max)
    for site in config.sites:
        questions = list(dict.fromkeys((name_for(site, image, arch, out), out) for image, arch in chosen
                                       for out in formats_for(site, image, arch)))  # fmt: skip
        try:
            seen = observed(site, questions)
            doubtful = [each for each in questions if not _in_order(each[0], seen[each])]
            for name, out in doubtful:
                with store.lock(f"push {site.cloud or site.name} {name}"):
                    opened = open_site(site, out)
                    with opened.exclusive(threading.Event()):
                        found += [f"site {site.name}: {name}: {what}" for what in look(opened, name)]
        except CCImagesError as error:
            found.append(f"site {site.name}: {error.message.removeprefix(f'site {site.name}: ')}")
    return found


def _in_order(name: str, seen: Sequence[Entry]) -> bool:
    step = reconcile.decide(Wish(name=name, wanted=False), seen, Memory())
    return isinstance(step, End) and not step.reason


def preview(outlook: Snapshot, store: Store) -> tuple[list[str], bool]:
    """Ask the sites what the plan's pushes would replace and what retention would delete.

    Return a line for each push, and whether every site could be asked.
    """
    lines: list[str] = []
    answered = True
    pushes = [(task.id, task.job) for task in outlook.plan("").tasks if isinstance(task.job, PushJob)]
    seen: dict[str, dict[tuple[str, Format], list[Entry]]] = {}
    troubles: dict[str, str] = {}
    for site in outlook.sites:
        questions = [(job.name, job.format) for _, job in pushes if job.site == site.name]
        try:
            seen[site.name] = observed(site, questions) if questions else {}
        except CCImagesError as error:
            troubles[site.name], answered = error.message, False
    sites = {site.name: site for site in outlook.sites}
    published = Published(store.root)
    for task, job in pushes:
        if job.site in troubles:
            lines.append(f"{task}: {troubles[job.site]}")
            continue
        if job.waits:
            lines.append(f"{task}: waits: {job.waits}")
            continue
        view = View(Wish(name=job.name), seen[job.site][job.name, job.format], Memory())
        last = published.last(job.site, job.name, job.format)
        try:
            lines.append(f"{task}: {_would(sites[job.site], job, view, last, _planned(job, store))}")
        except CCImagesError as error:
            lines.append(f"{task}: {error.message}")
            answered = False
    return lines, answered


def _planned(job: PushJob, store: Store) -> Publication | None:
    """Return what a push would publish; None while it is not built."""
    build = next((each for each in store.builds(job.tag, job.arch) if each.version == job.version), None)
    output = build.outputs.get(job.format) if build is not None else None
    if build is None or output is None or not (path := store.blobs.path(output.digest)).exists():
        return None
    properties = {**job.properties, "build-version": build.version}
    return Publication(name=job.name, path=path, sha512=output.sha512, size=output.size, properties=properties, run="")


def _would(site: Site, job: PushJob, view: View, last: Put | None, planned: Publication | None) -> str:
    """Return what a push would do, as far as that is known before its file is."""
    current = view.holder
    if len(view.holders) > 1:
        return f"fails: {len(view.holders)} images have the name {job.name}"
    has = current.properties.get("build-version", "?") if current is not None else ""
    if last is not None and last.version == job.version != has and not job.insist:
        return f"changes nothing: {'; '.join(remarks(view, last.version)) or 'no image has the name'}"
    opened = open_site(site, job.format, LOOK)
    if refusal := opened.refusal(job.name, planned.properties if planned is not None else job.properties, planned):
        return f"{'fails' if planned is not None else 'may fail'}: {refusal}; raise the image's version"
    does = f"replaces {has}" if current is not None else "is the first"
    wanted = site.visibility
    if current is not None and wanted and current.visibility != wanted:
        does += f", {current.visibility} → {wanted}"
    elif current is not None and current.visibility:
        does += f", stays {current.visibility}"
    elif site.cloud:
        does += f", {wanted or opened.first_visibility()}"
    doomed = surplus(view.archived, site.keep, len(view.holders))
    return does + (f", deletes {', '.join(opened.shown(entry.name) for entry in doomed)}" if doomed else "")
