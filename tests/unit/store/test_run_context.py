"""What tasks say of themselves."""

from __future__ import annotations

from dataclasses import replace

from cc_images.model.events import Step, TaskEvent
from cc_images.store.records import Store
from cc_images.store.workspace import Run
from tests.support.context import run_context, task_context


def test_a_step_does_not_steer_a_terminal(store: Store, run: Run) -> None:
    events: list[TaskEvent] = []
    with task_context(replace(run_context(store, run), emit=events.append), "build x amd64") as context:
        context.step("\033]0;owned\007 é …")
    assert events == [Step(task="build x amd64", doing="?]0;owned? é …")]
