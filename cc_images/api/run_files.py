"""Files of runs for programs that watch them: the stream of events, the logs of tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cc_images.model.catalog import Json
from cc_images.store import journal
from cc_images.store.workspace import log_path


def events(store: Path, run: str, offset: int = 0) -> Iterator[tuple[Json, int]]:
    """Yield the events of a run from an offset in its stream, each with the offset behind it.

    A line that is not whole yet is left for the next time.
    """
    with suppress(OSError), journal.events_path(store, run).open("rb") as lines:
        lines.seek(offset)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    yield found, offset


def outcome(store: Path, run: str) -> Json:
    """Return the journal of a run, as far as it can be read."""
    return journal.read(journal.folder(store) / f"{run}.json") or {}


def versions(told: Json) -> list[tuple[str, str, str]]:
    """Return the versions that a run has made, pushed or found to be up to date: tag, architecture, version."""
    jobs = [task["job"] for task in told.get("plan", {}).get("tasks", []) if task.get("resource") == "build"]
    serves = {(job.get("tag"), job.get("arch")): job.get("serves") for job in jobs}
    found = [
        (image["image"], image["arch"], image["version"] or serves.get((image["image"], image["arch"])) or "")
        for image in told.get("images", [])
        if image["ok"]
    ]
    return [each for each in found if each[2]]


def made(told: Json) -> set[tuple[str, str, str]]:
    """Return those of these versions that the run has made."""
    return {(image["image"], image["arch"], image["version"]) for image in told.get("images", []) if image.get("built")}


def task_log(store: Path, run: str, task: str) -> Path:
    """Return the log of a task of a run; the caller knows that the run has such a task."""
    return log_path(store / "logs" / run, task)
