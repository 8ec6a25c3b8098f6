"""The verb `build-request`: an image for a machine, as a file with a request describes it."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cc_images.api.run_file import RunFile
from cc_images.cli.outcomes import ending, settled
from cc_images.cli.signals import bench
from cc_images.config.loader import Config, load
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.catalog import Json
from cc_images.model.request import ImageRequest
from cc_images.model.run import State
from cc_images.report import text
from cc_images.report.plan_tree import plan_tree
from cc_images.report.units import duration

if TYPE_CHECKING:
    from cc_images.api.inspect import Bench
    from cc_images.api.requests import Made


def build_request(options: argparse.Namespace) -> int:
    """Carry out a request, or show what that would do; return the exit code of its run."""
    if options.dry_run:
        return _plan(options)
    with bench() as mine:
        kept = RunFile(Path(options.run_file)) if options.run_file else None
        made: Made | None = None
        refused: CCImagesError | None = None
        told: Json = {"state": State.FAILED}
        code = EXIT_FAILED
        try:
            made = _carried_out(options, mine, kept)
            told, refused = made.outcome.told, made.outcome.refused
            code = _finished(made, options)
        except CCImagesError as error:
            refused, code = error, error.exit_code
            raise
        finally:
            if kept is not None:
                kept.note(**ending(told, made.outcome if made else None, refused), exit_code=code)
    return code


def _asked(options: argparse.Namespace, config: Config) -> ImageRequest:
    """Return the request, if the options can be done with it."""
    from cc_images.api import requests

    asked = _pushing(requests.read_request(Path(options.request), config.machines), options.push)
    folder = Path(options.output) if options.output else None
    if folder is not None and not folder.is_dir():
        why = "is no folder" if folder.exists() else "is not there"
        raise UserError(f"--output {folder} {why}", hint="name a folder that is there", reason=Reason.MISSING_FILE)
    return asked


def _finished(made: Made, options: argparse.Namespace) -> int:
    """Print what became of a request, and copy its files; return the exit code."""
    from cc_images.api import requests

    if code := settled(made.outcome):
        return code
    files = {each: str(path) for each, path in made.files.items()}
    if options.output:
        files |= {each: str(requests.put(made, each, Path(options.output))) for each in made.files}
    if options.json:
        text.say(text.as_json(made.as_json(files)))
    else:
        done = f"built in {duration(made.outcome.seconds)}" if made.is_new else "unchanged"
        text.say("\n".join([f"{made.identifier}: {done}", *files.values()]))
    return 0


def _pushing(asked: ImageRequest, push: bool) -> ImageRequest:
    """Return a request with what the command line says about publishing."""
    if push and asked.push is False:
        raise UserError(f"{asked.file} says push: false, and -p says the opposite", hint="remove one of the two")
    return replace(asked, push=push or bool(asked.push))


def _plan(options: argparse.Namespace) -> int:
    from cc_images.api import requests
    from cc_images.api.plan import plan

    config = load(os.environ, Path.cwd())
    asked = _asked(options, config)
    with requests.prepared(asked, config, offline=options.offline, sites=options.site) as ready:
        seen = plan(ready.request, ready.config, offline=options.offline, ask_sites=ready.request.push)
    if options.json:
        said = {"image": ready.identifier, "commit": ready.commit}
        text.say(text.as_json(said | seen.plan.as_json() | {"pushes": seen.pushes}))
    else:
        text.say("\n".join([ready.identifier, plan_tree(seen.plan), *seen.pushes]))
    return 0 if seen.answered and not seen.plan.left_out else EXIT_FAILED


def _carried_out(options: argparse.Namespace, mine: Bench, kept: RunFile | None) -> Made:
    """Carry out a request, and show it. Raises CCImagesError for what let nothing start."""
    from cc_images.api import requests
    from cc_images.api.remote_build import log_of
    from cc_images.report.live import Live

    config = load(os.environ, Path.cwd())
    asked = _asked(options, config)
    shown = Live(sys.stderr, sys.stderr if options.json else sys.stdout, partial(log_of, config))
    if kept is not None:
        kept.shown = shown
    try:
        return requests.build_request(
            asked, config, kept or shown, stop=mine.stop, offline=options.offline, sites=options.site, words=mine.words
        )
    finally:
        shown.close()


EXIT_FAILED = 3
