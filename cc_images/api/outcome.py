"""Outcomes: what callers get from a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Json
from cc_images.model.plan import Plan, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a run. `stopped`: it was asked to end early; `complaints`: what went wrong with its own books."""

    plan: Plan
    results: Mapping[str, Result]
    journal: Path
    seconds: float
    stopped: bool
    complaints: tuple[str, ...] = ()
    told: Json = field(default_factory=dict)
    """The journal's contents."""
    refused: CCImagesError | None = None
    """The error that kept the run from being carried out: then there are no results."""
