"""The clock: the one source of the dates of runs and builds, so that a test can let a month pass."""

from __future__ import annotations

from datetime import UTC, datetime

EPOCH = 1_700_000_000
"""Seconds since 1970 that reproducible tools take for the time of a build (SOURCE_DATE_EPOCH)."""


def now() -> datetime:
    """Return the time in UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
