"""The books of a run: a build that stops after a phase leaves no costs, and is no success to remember."""

from __future__ import annotations

import time

import pytest

from cc_images.api.books import Books
from cc_images.model.plan import Plan, Result, Status, Task
from cc_images.model.run import State
from cc_images.store.durations import History
from cc_images.store.journal import Journal
from cc_images.store.records import Store
from tests.support.jobs import build_job


@pytest.mark.parametrize("until", ["", "install"])
def test_a_build_that_stops_after_a_phase_is_not_counted_on(store: Store, until: str) -> None:
    plan = Plan(version="20261122T030000Z", tasks=(Task(id="build b", job=build_job(until=until), reason=""),))
    results = {"build b": Result(task="build b", status=Status.DONE, seconds=9.0)}
    journal = Journal(store.root, plan.version)
    books = Books(store=store, journal=journal, began=time.monotonic())
    assert books.close(plan, {}, results, stopped=False) == []
    assert journal.told["state"] == State.OK
    assert History(store.root).seconds("build b") == (None if until else 9.0)
    assert (store.root / "runs" / "ok").is_symlink() == (not until)
