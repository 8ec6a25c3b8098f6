"""The verb `remote`: one container from one recipe, on a builder host or here."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from cc_images.cli.signals import bench
from cc_images.config.loader import load
from cc_images.report import text
from cc_images.report.units import duration, size


def remote(options: argparse.Namespace) -> int:
    """Build a recipe, and put the image in its place; return the exit code of the build."""
    from cc_images.api import remote_build
    from cc_images.api.run import run
    from cc_images.cli.outcomes import settled
    from cc_images.report.live import Live

    order = remote_build.Order(
        target=Path(options.image),
        recipe=Path(options.recipe),
        context=Path(options.context) if options.context else None,
        on=options.on,
    )
    config = load(os.environ, Path.cwd())
    told = sys.stderr if options.json else sys.stdout
    with bench() as mine, remote_build.prepared(order, config) as (request, own):
        shown = Live(sys.stderr, told, partial(remote_build.log_of, own))
        try:
            outcome = run(request, own, shown, stop=mine.stop, words=mine.words)
        finally:
            shown.close()
        if code := settled(outcome):
            return code
        made = remote_build.placed(order, request, own)
    if options.json:
        text.say(text.as_json({"image": str(order.target), "sha256": made.digest, "size": made.size,
                               "run": outcome.plan.version, "seconds": outcome.seconds}))  # fmt: skip
    else:
        text.say(f"{order.target}: {size(made.size)}, sha256 {made.digest}, in {duration(outcome.seconds)}")
    return 0
