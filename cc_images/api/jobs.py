"""Jobs on a builder host: which are at work, and their end. A head asks often: nothing of builds is loaded for it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cc_images.model.attempt import JobState
from cc_images.remote import jobs


def look(store: Path, attempts: Collection[str]) -> dict[str, JobState]:
    """Return which jobs are at work on this host."""
    return jobs.states(store, attempts)


def cancel(store: Path, attempt: str) -> None:
    """End a job on this host. Raises CCImagesError when it does not end."""
    jobs.cancel(store, attempt)
