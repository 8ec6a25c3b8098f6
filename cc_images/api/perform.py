"""A builder host's side of an attempt: do it, and say what this host is."""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path
from typing import IO

from cc_images.errors import Reason, UserError
from cc_images.model.attempt import Ticket
from cc_images.model.catalog import Json
from cc_images.remote import jobs
from cc_images.remote import work as working
from cc_images.remote.guard import Guard
from cc_images.remote.protocol import decoded_ticket as read
from cc_images.remote.survey import facts_here
from cc_images.store.records import Store

__all__ = ["facts", "log_to", "perform", "read", "work"]


LEAST = 64 << 10
"""Bytes that a store must have room for: the first files of an attempt, which have to say everything else."""


def perform(ticket: Ticket, store: Path, stop: threading.Event) -> str:
    """Do the attempt of a ticket in the store of this host; return how it ended, see `Guard.perform`.

    Raises CCImagesError when the head cannot be reached, or another job does this attempt.
    """
    with jobs.held(store, ticket.attempt):
        return Guard(Store(store, stop), ticket, stop).perform()


def facts(store: Path) -> Json:
    """Return what this host says of itself; see `remote.survey`. Raises UserError when it has no place for a store."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store) as probe:
            probe.write(bytes(LEAST))
    except OSError as error:
        raise _no_store(store, error.strerror or "") from error
    return facts_here(Store(store), jobs.at_work(store))


def _no_store(store: Path, why: str) -> UserError:
    return UserError(
        f"the store cannot be made: {store}: {why}",
        hint="`scratch` of builders.yaml at the head, or CC_IMAGES_STORE here, names another folder",
        reason=Reason.STORE_UNWRITABLE,
    )


def work(told: IO[bytes], said: IO[bytes], stop: threading.Event) -> None:
    """Do the work that a guard orders; see `remote.work`."""
    working.serve(told, said, stop)


def log_to(store: Path, attempt: str) -> Path:
    """Return the file for what a job says that nobody watches."""
    path = store / "logs" / attempt / "job.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("cc_images").setLevel(logging.INFO)
    return path
