"""Progress of a build: a fold of its run's stream of events."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cc_images.api import run_files
from cc_images.model.catalog import Json
from cc_images.model.plain_text import printable
from cc_images.web.decisions import Status
from cc_images.web.tables import RUNNING, Attempt, Build

STAGES: Mapping[str, Status] = {
    "fetch": Status.BUILDING,
    "layer": Status.BUILDING,
    "build": Status.BUILDING,
    "convert": Status.CONVERTING,
    "boot": Status.TESTING,
    "push": Status.PUSHING,
}
"""The status for each kind of task, by the first word of its id."""

ORDER = (Status.STARTED, Status.BUILDING, Status.CONVERTING, Status.TESTING, Status.PUSHING)


@dataclass(slots=True)
class Progress:
    """How far a run is. The status never goes back, also when several images are made one after the other."""

    status: Status = Status.STARTED
    message: str = ""
    tasks: int = 0
    """Tasks of the plan."""
    over: int = 0
    """Tasks that have ended."""
    offset: int = 0
    """Where in the stream it goes on."""
    logs: dict[str, str] = field(default_factory=dict)
    """What became of each task that has begun or ended; `running` while it is at work."""

    def take(self, event: Json, offset: int) -> None:
        """Take the next event, which ends at this offset. What cannot be printed is no part of any answer."""
        self.offset = offset
        task = printable(str(event.get("task", "")))
        match event.get("event"):
            case "waiting":
                self.message = printable(f"waits for {event.get('blocker', 'another run')}")
            case "planned":
                self.tasks, self.message = int(event.get("tasks", 0)), ""
            case "started":
                stage = STAGES.get(task.partition(" ")[0], self.status)
                self.status = max(self.status, stage, key=ORDER.index)
                self.logs[task] = "running"
                self.message = task
            case "step":
                self.message = printable(f"{task}: {event.get('doing', '')}")
            case "ended":
                self.logs[task] = str(event.get("status", ""))
                self.over += 1
            case _:
                pass


class Watcher:
    """Watches runs: reads of their streams what is new, when somebody asks."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._running: dict[int, Progress] = {}
        """The progress of runs, by their numbers."""

    def of(self, build: Build, run: Attempt | None) -> Progress | None:
        """Return how far a build's run is, or was; None before it has a plan."""
        if run is None or not run.name:
            return None
        with self._lock:
            found = self._running.get(run.id, Progress())
            for event, offset in run_files.events(self._store, run.name, found.offset):
                found.take(event, offset)
            if build.state == RUNNING:
                self._running[run.id] = found
            else:
                self._running.pop(run.id, None)
            return replace(found, logs=dict(found.logs))

    def task_log(self, run: Attempt, task: str) -> Path:
        """Return the log of a task of a run, whose progress has it."""
        return run_files.task_log(self._store, run.name, task)
