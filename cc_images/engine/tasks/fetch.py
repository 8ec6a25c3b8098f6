"""Fetch a download into the store."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace

from cc_images.engine.envelope import Envelope
from cc_images.model.plan import FetchJob, Result, Status
from cc_images.sources import artifacts
from cc_images.store.run_context import TaskContext

_log = logging.getLogger(__name__)


def do(envelope: Envelope, context: TaskContext, result: Result) -> Result:
    """Take what the store has, or fetch it, and note for builds where it is."""
    assert isinstance(envelope.job, FetchJob)
    download, store = envelope.job.artifact, context.store
    if download.sha256:
        known = store.blobs.path(download.sha256)
        with suppress(FileNotFoundError):
            name = context.run.run.use(known)
            if store.blobs.is_intact(download.sha256, name):
                _log.info("reused from the store: %s", known.name)
                context.run.note_fetched(download, known)
                store.note_artifact(known.name, download.basename)
                return replace(result, status=Status.CACHED, size=name.stat().st_size, where=str(known))
    clouds = context.run.settings.clouds
    blob = artifacts.fetch(download, store, clouds, stop=context.stop, report=context.bytes)
    context.run.note_fetched(download, blob.path)
    store.note_artifact(blob.digest, download.basename)
    return replace(result, size=blob.size, where=str(blob.path))
