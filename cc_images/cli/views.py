"""The verbs that only show things, each from its options to its exit code."""

from __future__ import annotations

import argparse
import os
import webbrowser
from pathlib import Path

from cc_images import clock
from cc_images.api.status import status as images_status
from cc_images.cli.signals import bench
from cc_images.config.loader import Config, load
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Arch, Json
from cc_images.model.plan import Request
from cc_images.model.status import ImageStatus
from cc_images.report import text

EXIT_FAILED = 3

LISTED = 20
"""Runs that `report --list` shows."""


def _config() -> Config:
    return load(os.environ, Path.cwd())


def catalogue(options: argparse.Namespace) -> int:
    """Show the catalog: every image, its newest build, and whether that is fresh."""
    config = _config()
    tags = tuple(options.tags) or ("all",)
    found = images_status(Request(tags=tags), config) if config.images else []
    asked = _asked(config, tags, ()) if options.sites else None
    if options.json:
        text.say(text.as_json([each.as_json() for each in found] if asked is None else _with(found, asked)))
    elif not found:
        text.say(f"{config.files['images.yaml']} has no images")
    else:
        rows = text.catalogue(found, clock.now())
        text.say("\n".join([*rows, *(["", *text.standings(asked)] if asked else [])]))
    return EXIT_FAILED if any(row[5] for row in asked or []) else 0


def bases(options: argparse.Namespace) -> int:
    """Show the images that containers can be built from, here and in registries."""
    from cc_images.api import bases
    from cc_images.report import bases as shown

    config, now = _config(), clock.now()
    found = bases.bases(config)
    tags, errors = bases.registry_tags(config)
    if options.json:
        said = {"images": [each.as_json() for each in found], "registries": [each.as_json() for each in tags]}
        text.say(text.as_json(said | {"errors": errors}))
    else:
        text.say("\n".join([*shown.base_images(found, now), *shown.registry_tags(tags, errors, now)]))
    return EXIT_FAILED if errors else 0


def show(options: argparse.Namespace) -> int:
    """Show what an image is resolved to."""
    from cc_images.api.catalog import resolved

    found = resolved(_config(), options.tag, tuple(Arch(word) for word in options.architecture))
    text.say(text.as_json(found) if options.json else "\n\n".join(map(text.resolved, found)))
    return 0


def status(options: argparse.Namespace) -> int:
    """Show how the images stand, what the store holds, and with --sites or -s what the sites say."""
    from cc_images.api.prune import held

    config = _config()
    tags = tuple(options.tags) or ("all",)
    found = images_status(Request(tags=tags), config) if config.images else []
    if not options.tags:
        found = [each for each in found if each.newest is not None or each.put]
    asked = _asked(config, tags, options.site) if options.sites or options.site else None
    holdings = [] if options.tags or options.site else held(config)
    if options.json:
        text.say(text.as_json(_with(found, asked or []) | {"store": [text.holding(each) for each in holdings]}))
    else:
        lines = [*text.standing(found, clock.now()), *text.holdings(holdings, config.store)]
        text.say("\n".join([*lines, *(text.standings(asked) if asked is not None else [])]) or "nothing is built")
    return EXIT_FAILED if any(row[5] for row in asked or []) else 0


def _asked(config: Config, tags: tuple[str, ...], sites: list[str] | tuple[str, ...]) -> list[tuple[str, ...]]:
    """Ask the sites; return a row each: site, image, version, day, remark, error."""
    from cc_images.api.site_status import site_status

    rows: list[tuple[str, ...]] = []
    for each in site_status(Request(tags=tags, sites=tuple(sites)), config):
        version, created = "-", "-"
        if each.current is not None:
            version = each.current.properties.get("build-version", "?")
            created = f"{each.current.created:%Y-%m-%d %H:%M}"
        archived = f"{each.archived} archived" if each.archived else ""
        remark = "; ".join(text for text in (each.error, *each.remarks, archived) if text)
        rows.append((each.site, each.name, version, created, remark, each.error))
    return rows


def _with(found: list[ImageStatus], asked: list[tuple[str, ...]]) -> Json:
    keys = ("site", "image", "version", "created", "remark")
    sites = [dict(zip(keys, row, strict=False)) for row in asked]
    return {"images": [each.as_json() for each in found], "sites": sites}


def run_report(options: argparse.Namespace) -> int:
    """Show what a run did, and where its page is; with --open show that in a browser."""
    from cc_images.api import runs

    config = _config()
    if options.list:
        listed = runs.newest(config, LISTED)
        text.say(text.as_json(listed) if options.json else "\n".join(map(text.summary, listed)) or "no runs yet")
        return 0
    told = runs.find(config, options.run or "")
    page = runs.page(config, told)
    if options.json:
        text.say(text.as_json(told | {"report": str(page)}))
    else:
        text.say("\n".join([text.summary(told), *text.accounts(told.get("images", [])), f"report: {page}"]))
    if options.open and not webbrowser.open(page.as_uri()):
        raise UserError("no browser could be started", hint=f"open {page} yourself", reason=Reason.NO_BROWSER)
    return 0


def diff(options: argparse.Namespace) -> int:
    """Show what differs between two versions of an image."""
    from cc_images.api import inspect
    from cc_images.report import release_notes

    arches = tuple(Arch(word) for word in options.architecture)
    with bench() as mine:
        both = inspect.editions(_config(), options.tag, arches, options.old, options.new, bench=mine)
    notes = release_notes.compare(*both)
    if options.json:
        text.say(text.as_json(notes.as_json()))
    else:
        text.say(release_notes.markdown(notes) if options.markdown else release_notes.text(notes))
    return 0
