"""The verb `serve`: the service over HTTP."""

from __future__ import annotations

import argparse
import logging
import sys
import threading

from cc_images.cli.signals import stopped_by_signals
from cc_images.cli.web_settings import settings
from cc_images.errors import UserError
from cc_images.report import text
from cc_images.web import app, log, start


def serve(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    if bool(options.tls_certificate) != bool(options.tls_key):
        raise UserError("--tls-certificate and --tls-key belong together", hint="give both, or neither on loopback")
    wanted = settings(options)
    for remark in start.remarks(wanted.load()):
        text.say(f"cc-images: {remark}", to=sys.stderr)
    if options.check:
        found = start.check(wanted)
        text.say(text.as_json(found) if options.json else "\n".join(f"{name}: {said}" for name, said in found.items()))
        return 0
    log.listen(logging.StreamHandler(sys.stderr))
    stop = threading.Event()
    with stopped_by_signals(stop), start.running(wanted, app.made) as address:
        text.say(text.as_json({"address": address}) if options.json else f"the service is at {address}")
        sys.stdout.flush()
        stop.wait()
    return 0
