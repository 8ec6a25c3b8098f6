"""The verbs of builds on other hosts: `builders`, `perform`."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from cc_images.cli.signals import stopped_by_signals
from cc_images.config.loader import load
from cc_images.errors import Reason, UserError
from cc_images.model.fleet import HostState
from cc_images.report import text

if TYPE_CHECKING:
    from cc_images.model.attempt import Ticket

EXIT_FAILED, EXIT_FENCED = 3, 4


def builders(options: argparse.Namespace) -> int:
    """Show builder hosts, what is at work there, and the queue."""
    from cc_images.api.builders import status
    from cc_images.report.fleet import fleet

    found = status(load(os.environ, Path.cwd()))
    text.say(text.as_json(found.as_json()) if options.json else "\n".join(fleet(found)))
    return EXIT_FAILED if any(each.state is HostState.SILENT for each in found.hosts) else 0


def perform(options: argparse.Namespace) -> int:
    """Do an attempt for a head, or tell of jobs."""
    if options.look or options.cancel:
        return _asked(options)
    from cc_images.api import perform as doing

    stop = threading.Event()
    if options.work:
        said = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what anything else prints is no line of the stream
        with stopped_by_signals(stop):
            doing.work(sys.stdin.buffer, said, stop)
        return 0
    store = load(os.environ, Path.cwd()).store
    if options.facts:
        text.say(text.as_json(doing.facts(store)))
        return 0
    name = options.ticket[0] if options.ticket else "-"
    ticket = doing.read(_content(name))
    return _detached(ticket, store) if options.detach else _done(ticket, store)


def _asked(options: argparse.Namespace) -> int:
    """Show which jobs are at work, or end them."""
    from cc_images.api import jobs

    store = load(os.environ, Path.cwd()).store
    if options.look:
        text.say(text.as_json(jobs.look(store, options.ticket)))
    else:
        for attempt in options.ticket:
            jobs.cancel(store, attempt)
    return 0


def _content(name: str) -> bytes:
    """Return what a file, or standard input, has. Raises UserError for a file that cannot be read."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UserError(
            f"the ticket {name} cannot be read: {error.strerror}",
            hint="name a file that a head has made, or - for standard input",
            reason=Reason.MISSING_FILE,
        ) from error


def _done(ticket: Ticket, store: Path) -> int:
    from cc_images.api import perform as doing

    stop = threading.Event()
    with stopped_by_signals(stop):
        ended = doing.perform(ticket, store, stop)
    print(f"attempt {ticket.attempt}: {ended}", flush=True)
    return {"made": 0, "fenced": EXIT_FENCED}.get(ended, EXIT_FAILED)


def _detached(ticket: Ticket, store: Path) -> int:
    """Do it in a process of its own, which outlives this one and its terminal."""
    from cc_images.api import perform as doing

    path = doing.log_to(store, ticket.attempt)
    if os.fork():
        return 0
    os.setsid()
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return _done(ticket, store)
