"""The journal of a run: plan, results and what became of each image, as one JSON file in `runs/` of the store.

It is written when the run begins and again when a task has ended, so it tells the truth about a run that is at work
and about one that was killed. Where that takes long, because the plan has hundreds of tasks, results wait for a moment,
so that writing takes a small part of a run's time. Owns the file and its states, not the meaning of what stands in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from cc_images.errors import CCImagesError
from cc_images.host import record_files
from cc_images.host.files import clear_errors, point, write_json
from cc_images.model import record_shapes
from cc_images.model.catalog import Json

SPARING = 30
"""How many times as long as writing took there is no writing for a result alone."""


class State(StrEnum):
    """How a run stands, or how it ended."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LEFT = "left"
    """It did nothing, because another one was at work on its images."""
    KILLED = "killed"
    """It ended without a word: killed, or the host went down."""


class Journal:
    """The journal of the run `run` of the store at `root`."""

    def __init__(self, root: Path, run: str) -> None:
        self.path = folder(root) / f"{run}.json"
        self._root = root
        self._told: Json = {"run": run, "state": State.RUNNING}
        self._lock = threading.Lock()
        self._due = 0.0
        """When it may be written again for a result alone, by the monotonic clock."""
        self._later: threading.Timer | None = None

    def note(self, **said: Any) -> None:
        """Add to what the journal says, and write it. Raises CCImagesError when the store cannot be written to."""
        with self._lock, clear_errors(self._root):
            self._told |= said
            self._write()

    def note_soon(self, **said: Any) -> None:
        """Add to what the journal says, and write it now or in a moment; failures to write are told as in `note`."""
        with self._lock, clear_errors(self._root):
            self._told |= said
            wait = self._due - time.monotonic()
            if wait <= 0:
                self._write()
            elif self._later is None:
                self._later = threading.Timer(wait, self._write_late)
                self._later.daemon = True
                self._later.start()

    def _write_late(self) -> None:
        with self._lock, suppress(CCImagesError), clear_errors(self._root):
            if self._later is not None:  # else it was written meanwhile
                self._write()

    def _write(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        began = time.monotonic()
        write_json(self.path, record_files.encoded(record_shapes.JournalShape, self._told))
        ended = time.monotonic()
        self._due = ended + (ended - began) * SPARING

    def mark_success(self) -> None:
        """Remember this run as the last one that went well, also when its journal has been rotated away."""
        point(self.path.with_name("ok"), Path(self.path.name))

    @property
    def told(self) -> Json:
        """What the journal says."""
        return self._told


def folder(root: Path) -> Path:
    """Return where the journals of a store are."""
    return root / "runs"


def read(path: Path) -> Json | None:
    """Return what a journal says, or None when it cannot be read; what an older version wrote is made whole."""
    found = _raw(path)
    return _whole(found, path.stem) if found is not None else None


def _raw(path: Path) -> Json | None:
    return record_files.recalled(path, record_shapes.JournalShape, path.parent.parent)


def _whole(found: Json, run: str) -> Json:
    """Return a journal with its state, and without what lacks something that every entry has."""
    results = [each for each in found.get("results", []) if record_files.fits(each, record_shapes.ResultShape)]
    images = [each for each in found.get("images", []) if record_files.fits(each, record_shapes.ImageShape)]
    good = all(each["status"] in ("done", "cached") for each in results)
    ended = State.INTERRUPTED if found.get("interrupted") else State.OK if good else State.FAILED
    state = found.get("state") if found.get("state") in set(State) else ended
    whole = found | {"run": run, "state": state, "images": images}
    return whole | ({"results": results} if "plan" in found else {})


def newest_first(root: Path) -> Iterator[Path]:
    """Yield the journals of a store, the newest first."""
    yield from sorted(folder(root).glob("2*.json"), key=lambda path: path.stem, reverse=True)


def last_success(root: Path) -> str:
    """Return the name of the last run that went well, or an empty text."""
    with suppress(OSError):
        return (folder(root) / "ok").readlink().stem
    return ""


def mark_killed(root: Path, run: str) -> None:
    """Note that a run has died, unless its journal says how it ended."""
    said = _raw(folder(root) / f"{run}.json")
    if said is not None and said.get("state") == State.RUNNING:
        killed = record_files.encoded(record_shapes.JournalShape, said | {"state": State.KILLED})
        write_json(folder(root) / f"{run}.json", killed)
