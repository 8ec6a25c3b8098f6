"""The ledger: runs of one store together take no more than the host has, and the dead hold nothing."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cc_images import engine
from cc_images.ledger import PAGE, Ledger
from cc_images.model import Artifact
from cc_images.plan import RESOURCES, FetchJob, Plan, Resource, Result, Status, Task
from cc_images.runs import Run
from cc_images.store import Store

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
AT_WORK = {Resource.BUILD: 1, Resource.MEMORY: 600}
LIMITS = dict.fromkeys(Resource, 9) | {Resource.MEMORY: 1000, Resource.DISK: 1000}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def runs(store: Store) -> Iterator[list[Run]]:
    made = [store.start_run(NOW) for _ in range(3)]
    yield made
    for each in made:
        store.finish_run(each, shutil.rmtree)


def seen(ledger: Ledger, books: Mapping[Resource, int] | None = None) -> tuple[Mapping[Resource, int], tuple[str, ...]]:
    """Let a run book something; return what it saw of others, and whom it has to wait for."""
    held: list[Mapping[Resource, int]] = []

    def decide(elsewhere: Mapping[Resource, int]) -> Mapping[Resource, int]:
        held.append(elsewhere)
        return books or {}

    whom = ledger.share(decide)
    return held[0], whom


def test_a_run_sees_what_the_others_have_booked_and_whom_it_waits_for(store: Store, runs: list[Run]) -> None:
    first, second, third = (Ledger(store=store, run=run) for run in runs)
    assert seen(first, AT_WORK) == ({}, ())
    assert seen(second, {Resource.DISK: 50}) == (AT_WORK, (runs[0].version,)), "it has nothing at work itself"
    assert seen(third, AT_WORK) == ({**AT_WORK, Resource.DISK: 50}, ())
    assert seen(second) == ({Resource.BUILD: 2, Resource.MEMORY: 1200}, (runs[0].version, runs[2].version))
    seen(first)
    assert seen(second) == (AT_WORK, (runs[2].version,))


def test_the_dead_and_the_illegible_have_booked_nothing(store: Store, runs: list[Run]) -> None:
    dead, looking = store.start_run(NOW), Ledger(store=store, run=runs[0])
    seen(Ledger(store=store, run=dead), AT_WORK)
    assert seen(looking) == (AT_WORK, (dead.version,))
    dead.close()
    assert seen(looking) == ({}, ())
    for text in ("", "[]", '{"build": "x"}', '{"magic": 1}', "\0"):
        (runs[1].work / PAGE).write_text(text)
        assert seen(looking) == ({}, ()), text


def test_a_store_that_cannot_be_written_to_keeps_nobody_from_working(store: Store, runs: list[Run]) -> None:
    seen(Ledger(store=store, run=runs[1]), AT_WORK)
    shutil.rmtree(store.root / "locks")
    (store.root / "locks").write_text("a file where a folder should be")
    shutil.rmtree(runs[0].work)
    assert seen(Ledger(store=store, run=runs[0]), AT_WORK) == (AT_WORK, ())
    runs[0].work.mkdir()
    (store.root / "locks").unlink()


def tasks(count: int) -> Plan:
    job = FetchJob(artifact=Artifact(url="file:/x"))
    return Plan(version="v", tasks=tuple(Task(id=f"t{number}", job=job, reason="") for number in range(count)))


def test_two_runs_together_never_take_more_than_there_is(store: Store, runs: list[Run]) -> None:
    taken, most, lock = 0, 0, threading.Lock()
    books = {f"t{number}": {Resource.MEMORY: 250 + 50 * number} for number in range(6)}

    def perform(task: Task) -> Result:
        nonlocal taken, most
        takes = books[task.id][Resource.MEMORY]
        with lock:
            taken += takes
            most = max(most, taken)
        time.sleep(0.02)
        with lock:
            taken -= takes
        return Result(task=task.id, status=Status.DONE)

    def carry_out(run: Run) -> Mapping[str, Result]:
        ledger = Ledger(store=store, run=run)

        def share(decide: engine.Decide) -> None:
            ledger.share(decide)

        with ThreadPoolExecutor(6) as pool:
            return engine.run(tasks(6), perform, dict.fromkeys(RESOURCES.values(), pool), LIMITS, books=books,
                              share=share)  # fmt: skip

    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(carry_out, runs))
    assert [len(results) for results in ended] == [6, 6, 6]
    assert 500 < most <= 1000, "more than one at a time, where there is room"
    assert seen(Ledger(store=store, run=runs[0])) == ({}, ()), "nothing is left on the pages"


def test_what_others_take_is_waited_for_but_not_for_ever() -> None:
    books = {"t0": {Resource.DISK: 700}, "t1": {Resource.DISK: 700}}
    schedule = engine.Schedule(tasks(2), LIMITS, books, leaves={"t0": {Resource.DISK: 700}})
    assert schedule.start({Resource.BUILD: 1, Resource.DISK: 600}) == [], "another run is at work, and has the room"
    assert [task.id for task in schedule.start({Resource.DISK: 600})] == ["t0"], (
        "nobody is at work: two runs whose leftovers fill the disk do not wait for each other"
    )
    schedule.finish(Result(task="t0", status=Status.DONE))
    assert [task.id for task in schedule.start({Resource.BUILD: 9, Resource.FETCH: 9})] == ["t1"], (
        "places are a run's own"
    )
