"""The verb `store`: the store of this host as a service for builder hosts."""

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


def store(options: argparse.Namespace) -> int:
    """Serve the store until SIGTERM or Ctrl-C."""
    from cc_images.api.serve import serve

    if bool(options.tls_cert) != bool(options.tls_key):
        raise UserError("--tls-cert and --tls-key belong together", hint="give both, or neither on loopback")
    tls = (Path(options.tls_cert), Path(options.tls_key)) if options.tls_cert else None
    config, stop = load(os.environ, Path.cwd()), threading.Event()
    with stopped_by_signals(stop), serve(config, options.listen, tls) as address:
        said = {"store": str(config.store), "address": address}
        text.say(text.as_json(said) if options.json else f"{config.store} is served at {address}")
        sys.stdout.flush()
        stop.wait()
    return 0
