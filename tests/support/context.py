"""Contexts of runs and tasks for tests, with a builder that writes a few bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cc_images.engine.envelope import Envelope
from cc_images.model.plan import Job
from cc_images.store import notes
from cc_images.store.notes import RunSettings
from cc_images.store.records import Store
from cc_images.store.run_context import RunContext, TaskContext
from cc_images.store.workspace import Run


def run_context(store: Store, run: Run, *keys: str, upstream: Mapping[str, str] | None = None,
                **settings: Any) -> RunContext:  # fmt: skip
    """Return the context of a run that may build what the recipe keys name."""
    context = RunContext(store=store, run=run, settings=RunSettings(**{"began": 0.0} | settings))
    context.publish()
    notes.write(run.work / "upstream.json", dict(upstream or {}))
    for key in keys or ("a",):
        notes.write(run.work / "recipes" / f"{key}.json", {"recipe": {}})
    return context


@contextmanager
def task_context(context: RunContext, task: str) -> Iterator[TaskContext]:
    """Give the context of a task."""
    with context.run.log_path(task).open("wb") as log:
        yield TaskContext(run=context, task=task, log=log)


def envelope(context: RunContext, task: str, job: Job, **more: Any) -> Envelope:
    """Return the envelope of a task."""
    return Envelope(store=str(context.store.root), run=context.run.version, task=task, job=job, **more)
