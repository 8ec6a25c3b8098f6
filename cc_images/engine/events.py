"""Observers of a run."""

from __future__ import annotations

from typing import Protocol

from cc_images.engine.forecast import Forecast
from cc_images.model.events import Progress
from cc_images.model.plan import Result


class Display(Progress, Protocol):
    """Who is told of a run, from any thread."""

    def waiting(self, whom: str) -> None:
        """Hear that the run waits for another one, and whom that is."""

    def planned(self, forecast: Forecast) -> None:
        """Hear the plan, before anything runs."""

    def over(self, result: Result) -> None:
        """Hear how a task ended."""

    def close(self) -> None:
        """Hear that nothing more will come."""
