"""The verb `builder-node`: machines of clouds as nodes of Slurm, and the sweep of those that nobody owns."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

from cc_images.cli.signals import stopped_by_signals
from cc_images.config.loader import load
from cc_images.errors import UserError
from cc_images.report import text

EXIT_FAILED = 3


def builder_node(options: argparse.Namespace) -> int:
    """Create or destroy the machines of nodes, or sweep."""
    from cc_images.api import machines

    if (options.action == "sweep") == bool(options.nodes):
        raise UserError(
            "sweep takes no nodes" if options.nodes else f"{options.action} needs the names of nodes",
            hint="cc-images builder-node create|destroy NODE…, or cc-images builder-node sweep",
        )
    config, stop = load(os.environ, Path.cwd()), threading.Event()
    if options.action == "sweep":
        done = [*machines.sweep(config, options.builder)]
        text.say(text.as_json(done) if options.json else "\n".join(done) or "nothing to do")
        return 0
    act = machines.create if options.action == "create" else machines.destroy
    rows = []
    with stopped_by_signals(stop):
        for each in act(config, options.nodes, options.builder, stop):
            rows.append({"node": each.node, "address": each.address, "trouble": each.trouble})
            if not options.json:
                good = "has a machine at " + each.address if each.address else "has no machine any more"
                text.say(f"{each.node} {(each.trouble and 'failed: ' + each.trouble) or good}")
                sys.stdout.flush()
    if options.json:
        text.say(text.as_json(rows))
    return EXIT_FAILED if any(row["trouble"] for row in rows) else 0
