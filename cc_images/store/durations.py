"""The costs of tasks in earlier runs: seconds, memory and room, kept by the task's name.

Owns `history.json` in the store, which outlives the journals of the runs that it was learned from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

from cc_images.host import record_files
from cc_images.host.files import write_json
from cc_images.model import record_shapes
from cc_images.model.catalog import Json
from cc_images.model.plan import Result, Status

REMEMBERED = 5
"""How many of the last runs of a task count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """The cost of one task: seconds, and in MiB the most memory and scratch, and the room in the store."""

    seconds: float
    memory: int = 0
    scratch: int = 0
    disk: int = 0


class History:
    """The history of the store at `root`. Reading never fails: a history that cannot be read is empty."""

    def __init__(self, root: Path) -> None:
        self._path = root / "history.json"
        self._tasks: dict[str, list[Json]] = {}
        for task, found in (record_files.recalled(self._path, record_shapes.MemoryShape, root) or {}).items():
            listed = found if isinstance(found, list) else []
            rows = [each for each in listed if record_files.fits(each, record_shapes.TookShape)]
            self._tasks.update({task: rows} if rows else {})

    def seconds(self, task: str) -> float | None:
        """Return how long a task usually takes: the median of what is remembered; None when it never ran."""
        found = self._of(task)
        return median(each.seconds for each in found) if found else None

    def usual(self) -> dict[str, float]:
        """Return how long each task usually takes."""
        return {task: took for task in sorted(self._tasks) if (took := self.seconds(task)) is not None}

    def most(self, task: str) -> Took | None:
        """Return the most that a task took of everything; None when it never ran."""
        found = self._of(task)
        if not found:
            return None
        return Took(**{each.name: max(getattr(took, each.name) for took in found) for each in fields(Took)})

    def add(self, results: Iterable[Result]) -> None:
        """Remember what tasks took that were done; those that found their work done, or failed, tell nothing."""
        done = [result for result in results if result.status is Status.DONE]
        if not done:
            return
        for result in done:
            took: Mapping[str, float] = {"seconds": round(result.seconds, 1), **result.peaks}
            self._tasks[result.task] = [*self._tasks.get(result.task, []), dict(took)][-REMEMBERED:]
        write_json(self._path, record_files.encoded(record_shapes.MemoryShape, self._tasks))

    def _of(self, task: str) -> list[Took]:
        known = {each.name for each in fields(Took)}
        rows = self._tasks.get(task, [])
        return [Took(**{name: value for name, value in each.items() if name in known}) for each in rows]
