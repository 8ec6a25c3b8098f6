"""Run files: how one run stands, as a small JSON file for the program that has started it; `run_note` reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cc_images.api.run_note import ticks
from cc_images.engine.events import Event, Observer, Planned
from cc_images.host.files import clear_errors, write_json
from cc_images.model.catalog import Json

FORMAT = 1


class RunFile(Observer):
    """Writes a run file, and hands all events on to another observer, which may come later."""

    def __init__(self, path: Path, shown: Observer | None = None) -> None:
        self._path = path
        self.shown = shown
        self._said: Json = {"format": FORMAT}
        self.note(pid=os.getpid(), ticks=ticks(os.getpid()))

    def on_event(self, event: Event) -> None:
        """Note the run's name, which the plan has."""
        if isinstance(event, Planned):
            remaining = event.forecast.remaining() if not event.forecast.unknown else None
            self.note(run=event.forecast.plan.version, remaining=remaining)
        if self.shown is not None:
            self.shown.on_event(event)

    def note(self, **said: Any) -> None:
        """Add to the file. Raises CCImagesError when it cannot be written."""
        self._said |= said
        with clear_errors(self._path.parent):
            write_json(self._path, self._said)
