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
from cc_images.report import operations as shown
from cc_images.report import text

if TYPE_CHECKING:
    from cc_images.model.status import Hold

EXIT_FAILED, EXIT_PENDING = 3, 5
EXIT_INTERRUPTED = 130


def _config() -> Config:
    return load(os.environ, Path.cwd())


def _request(options: argparse.Namespace, sites: tuple[str, ...] = ()) -> Request:
    return Request(tags=(options.tag,), arches=_arches(options), sites=sites)


def _arches(options: argparse.Namespace) -> tuple[Arch, ...]:
    return tuple(Arch(word) for word in options.architecture)


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
        text.say("\n".join(shown.rollbacks(found, dry_run=options.dry_run)))
    if mine.stop.is_set():
        return EXIT_INTERRUPTED
    return EXIT_FAILED if any(each.error for each in found) else 0


def retire(options: argparse.Namespace) -> int:
    """Carry out what is due for old versions, or show what becomes of them and when."""
    from cc_images.api import retire

    config = _config()
    tags = tuple(options.tags) or tuple(tag for tag, image in config.images.items() if not image.abstract)
    request = Request(tags=tags, arches=_arches(options), sites=tuple(options.site))
    if options.dry_run:
        fates, failed = retire.upcoming(request, config)
        told = {"calendar": [each.as_json() for each in fates], "failed": [each.as_json() for each in failed]}
        text.say(text.as_json(told) if options.json else "\n".join(shown.calendar(fates, failed)))
        return EXIT_FAILED if failed else 0
    with bench() as mine:
        rows = retire.retire(request, config, bench=mine)
    plain = [each.as_json() for each in rows]
    text.say(text.as_json(plain) if options.json else "\n".join(shown.retired(rows)))
    if mine.stop.is_set():
        return EXIT_INTERRUPTED
    return EXIT_FAILED if any(each.error for each in rows) else 0


def hold(options: argparse.Namespace) -> int:
    """Hold a version: it is not pushed until it is released."""
    return _hold(options, why=options.why, release=False)


def release(options: argparse.Namespace) -> int:
    """Release a version that is held."""
    return _hold(options, why="", release=True)


def _hold(options: argparse.Namespace, *, why: str, release: bool) -> int:
    from cc_images.api.rollback import hold

    noted = hold(_request(options), _config(), options.version, why=why, release=release)
    text.say(text.as_json([_plain(each) for each in noted]) if options.json else "\n".join(map(shown.hold, noted)))
    return 0


def _plain(each: Hold) -> dict[str, object]:
    return {"tag": each.tag, "arch": each.arch, "version": each.version, "why": each.why, "released": each.released}


def pull(options: argparse.Namespace) -> int:
    """Bring sites to what a catalogue has in force."""
    from cc_images.api.pull import Pull, pull

    order = Pull(source=options.source, names=tuple(options.names), sites=tuple(options.site), dry_run=options.dry_run)
    with bench() as mine:
        rows = pull(order, _config(), bench=mine, say=lambda line: print(line, file=sys.stderr, flush=True))
    plain = [each.as_json() for each in rows]
    text.say(text.as_json(plain) if options.json else "\n".join(shown.pulls(rows)))
    if mine.stop.is_set():
        return EXIT_INTERRUPTED
    return EXIT_FAILED if any(each.error for each in rows) else 0


def check_updates(options: argparse.Namespace) -> int:
    """Show which published images lack a later version of a package that their own repositories have."""
    from cc_images.api.updates import check_updates

    config = _config()
    tags = tuple(options.tags) or tuple(tag for tag, image in config.images.items() if not image.abstract)
    with bench() as mine:
        found = check_updates(
            Request(tags=tags, arches=_arches(options), sites=tuple(options.site)),
            config,
            ask_sites=options.sites,
            feed=Path(options.feed) if options.feed else None,
            offline=options.offline,
            stop=mine.stop,
        )
    if options.json:
        text.say(text.as_json([each.as_json() for each in found]))
    else:
        text.say("\n".join(shown.pending(found)))
    if mine.stop.is_set():
        return EXIT_INTERRUPTED
    if any(each.updates for each in found):
        return EXIT_PENDING
    return EXIT_FAILED if any(each.unknown for each in found) else 0


def _folders(words: list[str], config: Config) -> dict[str, str]:
    """Return the addresses of sites' folders, from words such as local=https://images.example.org."""
    found = dict(word.partition("=")[::2] for word in words)
    folders = [site.name for site in config.sites if site.directory]
    for site, address in found.items():
        if site not in folders or not address.startswith(("http://", "https://")):
            known = ", ".join(folders) or "none"
            raise UserError(f"--download {site}={address}: no folder on the web", hint=f"SITE=URL; folders are {known}")
    return found


def catalogue_page(options: argparse.Namespace) -> int:
    """Write the page for the people who use the images."""
    from cc_images.api.offers import offers
    from cc_images.api.page import write_file
    from cc_images.report import offer_pages

    config, folder = _config(), Path(options.folder)
    found = offers(config, _folders(options.download, config))
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
