"""The outcome of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Json
from cc_images.model.plan import Plan, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run did. `stopped`: it was asked to end early; `complaints`: what went wrong with its own books."""

    plan: Plan
    results: Mapping[str, Result]
    journal: Path
    seconds: float
    stopped: bool
    complaints: tuple[str, ...] = ()
    told: Json = field(default_factory=dict)
    """What the journal says."""
    refused: CCImagesError | None = None
    """What kept the run from being carried out: then there are no results."""
