"""The journal of a run: plan, results and the outcome for each image, as one JSON file in `runs/` of the store.

It is written when the run begins, when it is planned, and when it is over. Between that the results of its tasks stand
in the run's stream of events, `runs/<run>/events.jsonl`, and a reader of the journal gets both: so it tells the truth
about a run that is at work and about one that was killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from cc_images.host import record_files
from cc_images.host.files import clear_errors, point, write_json
from cc_images.model import record_shapes
from cc_images.model.catalog import Json
from cc_images.model.run import State

LOOKED_AT = 3
"""Journals that are looked at for one that was left in the middle."""


class Journal:
    """The journal of the run `run` of the store at `root`."""

    def __init__(self, root: Path, run: str) -> None:
        self.path = folder(root) / f"{run}.json"
        self._root = root
        self._told: Json = {"run": run, "state": State.RUNNING}

    def note(self, **said: Any) -> None:
        """Add to what the journal says, and write it. Raises CCImagesError when the store cannot be written to."""
        self._told |= said
        with clear_errors(self._root):
            write_json(self.path, record_files.encoded(record_shapes.JournalShape, self._told))

    def mark_success(self) -> None:
        """Remember this run as the last one that went well, also when its journal has been rotated away."""
        point(self.path.with_name("ok"), Path(self.path.name))

    @property
    def told(self) -> Json:
        """The journal's contents."""
        return self._told


def folder(root: Path) -> Path:
    """Return where the journals of a store are."""
    return root / "runs"


def events_path(root: Path, run: str) -> Path:
    """Return the file with a run's stream of events."""
    return folder(root) / run / "events.jsonl"


def read(path: Path) -> Json | None:
    """Return what a journal says, or None when it cannot be read; what an older version wrote is made whole."""
    found = _raw(path)
    return _whole(found, path.stem) if found is not None else None


def _results(root: Path, run: str) -> list[Json]:
    """Return the results in a run's stream of events; its last line may be torn."""
    found: list[Json] = []
    with suppress(OSError), events_path(root, run).open("rb") as lines:
        for line in lines:
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and event.pop("event", "") == "ended":
                    found.append({name: value for name, value in event.items() if name not in ("time", "format")})
    return found


def _raw(path: Path) -> Json | None:
    found = record_files.recalled(path, record_shapes.JournalShape, path.parent.parent)
    if found is not None and found.get("state") == State.RUNNING and "plan" in found and not found.get("results"):
        found["results"] = _results(path.parent.parent, path.stem)
    return found


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


def mark_dead(root: Path, runs: Iterable[str]) -> None:
    """Note that runs have died, and so have those of the newest that are gone and could not write their last words."""
    for run in runs:
        mark_killed(root, run)
    for path in islice(newest_first(root), LOOKED_AT):
        if not (root / "work" / path.stem).exists():
            mark_killed(root, path.stem)
