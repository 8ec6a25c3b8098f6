"""The verbs after a publication: `rollback`, `hold`, `release`, and `catalogue-page`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cc_images import clock
from cc_images.cli.signals import bench
from cc_images.config.loader import Config, load
from cc_images.errors import UserError
from cc_images.model.catalog import Arch
from cc_images.model.plan import Request
from cc_images.report import text

if TYPE_CHECKING:
    from cc_images.model.status import Hold

EXIT_FAILED = 3
EXIT_INTERRUPTED = 130


def _config() -> Config:
    return load(os.environ, Path.cwd())


def _request(options: argparse.Namespace, sites: tuple[str, ...] = ()) -> Request:
    return Request(tags=(options.tag,), arches=tuple(Arch(word) for word in options.architecture), sites=sites)


def rollback(options: argparse.Namespace) -> int:
    """Give an archived version its name back, on all sites or on those named."""
    from cc_images.api.rollback import rollback

    with bench() as mine:
        found = rollback(
            _request(options, tuple(options.site)),
            _config(),
            to=options.to,
            why=options.why,
            dry_run=options.dry_run,
            bench=mine,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    if options.json:
        keys = ("site", "name", "tag", "arch", "format", "before", "after", "archived", "done", "note", "error")
        text.say(text.as_json([{key: getattr(each, key) for key in keys} for each in found]))
    else:
        text.say("\n".join(text.rollbacks(found, dry_run=options.dry_run)))
    if mine.stop.is_set():
        return EXIT_INTERRUPTED
    return EXIT_FAILED if any(each.error for each in found) else 0


def hold(options: argparse.Namespace) -> int:
    """Hold a version: it is not pushed until it is released."""
    return _hold(options, why=options.why, release=False)


def release(options: argparse.Namespace) -> int:
    """Release a version that is held."""
    return _hold(options, why="", release=True)


def _hold(options: argparse.Namespace, *, why: str, release: bool) -> int:
    from cc_images.api.rollback import hold

    noted = hold(_request(options), _config(), options.version, why=why, release=release)
    text.say(text.as_json([_plain(each) for each in noted]) if options.json else "\n".join(map(text.hold, noted)))
    return 0


def _plain(each: Hold) -> dict[str, object]:
    return {"tag": each.tag, "arch": each.arch, "version": each.version, "why": each.why, "released": each.released}


def catalogue_page(options: argparse.Namespace) -> int:
    """Write the page for the people who use the images."""
    from cc_images.api.offers import offers
    from cc_images.api.page import write_file
    from cc_images.report import offer_pages

    found, folder = offers(_config()), Path(options.folder)
    written = {
        "index.html": offer_pages.page(found, options.title, clock.now().date()),
        "catalogue.json": offer_pages.as_json(found),
        "feed.atom": offer_pages.feed(found, options.title),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in written.items():
            write_file(folder / name, content)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror}", hint="name a folder of yours") from error
    if options.json:
        text.say(text.as_json({"folder": str(folder), "files": list(written), "images": len(found)}))
    else:
        text.say(f"{folder / 'index.html'}: {len(found)} images")
    return 0
