"""The survey: asks sites what they have, what a push would do there, and clears up what dead runs left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date

from cc_images import leftovers as leftovers_here
from cc_images import sandbox, sources
from cc_images.config import Config
from cc_images.errors import CCImagesError
from cc_images.files import clear_errors
from cc_images.model import Format, Site
from cc_images.outlook import Outlook
from cc_images.plan import PushJob, Request
from cc_images.planning import formats_for
from cc_images.selection import select, sites_of
from cc_images.sites import LOOK, open_site
from cc_images.sites.base import Entry, ImageSite
from cc_images.sites.publish import recover, surplus
from cc_images.store import Store

AT_ONCE = 8
"""Questions that are asked at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a site has of one image: the current entry, how many archived ones, or why it could not be asked."""

    site: str
    name: str
    current: Entry | None = None
    archived: int = 0
    error: str = ""


def standings(request: Request, config: Config, today: date) -> list[Standing]:
    """Ask the sites, all at once, what they have of the images that a request names.

    A site that cannot be asked for one image is asked for no other: its failure counts for all.
    """
    chosen, _ = select(request, config, today)
    questions = [
        (site, image.published_name(arch), out)
        for site in sites_of(request, config)
        for image, arch in chosen
        for out in formats_for(site, image, arch)
    ]

    firsts = {question[0].name: question for question in reversed(questions)}
    dead: dict[str, str] = {}

    def ask(question: tuple[Site, str, Format]) -> Standing:
        site, name, out = question
        if site.name in dead:
            return Standing(site=site.name, name=name, error=dead[site.name])
        try:
            opened = open_site(site, out, LOOK)
            found = opened.find(name)
            archived = len(opened.archived(name))
        except CCImagesError as error:
            dead[site.name] = error.message
            return Standing(site=site.name, name=name, error=error.message)
        return Standing(site=site.name, name=name, current=found[0] if found else None, archived=archived)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        known = {id(each): answer for each, answer in zip(firsts.values(), pool.map(ask, firsts.values()), strict=True)}
        return list(pool.map(lambda each: known.get(id(each)) or ask(each), questions))


def mend(config: Config) -> list[str]:
    """Clear up after dead runs, here and on every site that answers; return what was found, a line each."""
    store = Store(config.store)
    with clear_errors(store.root), store.lock("runs"):  # a run that is just starting has its lock when it is free
        done = [leftovers_here.remove(each) for each in leftovers_here.find(leftovers_here.dead_runs(store.root))]
    done += [f"run {run}: its folder was removed" for run in store.reap(sandbox.remove)]
    damaged = [blob.name for blob in sorted(store.blobs.all()) if store.blobs.is_damaged(blob.name)]
    done += [f"store: {digest[:12]} was damaged and is in quarantine; the next -b makes it anew" for digest in damaged]
    done += [
        f"{path}: was not what its commit says, and is made anew when it is needed" for path in sources.damaged(store)
    ]
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
    return found + _each_name(
        config, store, lambda opened, name: [f"what run {each.run or '?'} had uploaded" for each in opened.staged(name)]
    )


def _each_name(config: Config, store: Store, look: Callable[[ImageSite, str], list[str]]) -> list[str]:
    """Look at every name that the catalogue has on every site; return what was seen, a line each."""
    if not config.images:
        return []
    found: list[str] = []
    chosen, _ = select(Request(tags=tuple(config.images)), replace(config, arches=()), date.max)
    for site in config.sites:
        for name, out in {
            (image.published_name(arch), out) for image, arch in chosen for out in formats_for(site, image, arch)
        }:
            try:
                with store.lock(f"push {site.cloud or site.name} {name}"):
                    open_site(site, out, LOOK).find(name)  # whether it is there at all
                    opened = open_site(site, out)
                    with opened.exclusive(threading.Event()):
                        seen = look(opened, name)
            except CCImagesError as error:
                said = error.message.removeprefix(f"site {site.name}: ")
                found.append(f"site {site.name}: {said}")
                break
            found += [f"site {site.name}: {name}: {what}" for what in seen]
    return found


def preview(outlook: Outlook) -> tuple[list[str], bool]:
    """Ask the sites what the plan's pushes would replace and what retention would delete.

    Return a line for each push, and whether every site could be asked.
    """
    lines: list[str] = []
    answered = True
    sites = {site.name: site for site in outlook.sites}
    for task in outlook.plan("").tasks:
        if not isinstance(task.job, PushJob):
            continue
        site, name = sites[task.job.site], task.job.name
        try:
            opened = open_site(site, task.job.format, LOOK)
            current = opened.find(name)
            doomed = surplus(opened, name, site.keep, current) if site.keep is not None else []
        except CCImagesError as error:
            lines.append(f"{task.id}: {error.message}")
            answered = False
            continue
        does = f"replaces {current[0].properties.get('build-version', '?')}" if current else "is the first"
        wanted = site.visibility
        if current and wanted and current[0].visibility != wanted:
            does += f", {current[0].visibility} → {wanted}"
        elif current and current[0].visibility:
            does += f", stays {current[0].visibility}"
        elif site.cloud:
            does += f", {wanted or opened.first_visibility()}"
        deletes = f", deletes {', '.join(entry.name for entry in doomed)}" if doomed else ""
        lines.append(f"{task.id}: {does}{deletes}")
    return lines, answered
