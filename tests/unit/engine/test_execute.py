"""The schedule's promises on random graphs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from cc_images.engine.execute import TICK, Decide, Watch
from cc_images.engine.resources import OthersUsage
from cc_images.engine.schedule import LANE, Schedule
from cc_images.model.catalog import Arch, Download, Format
from cc_images.model.plan import FetchJob, Job, Plan, PushJob, Resource, Result, Status, Task
from tests.conftest import samples
from tests.support.engine import reserved, run

GOOD = (Status.DONE, Status.CACHED)


def job(kind: bool) -> Job:
    if kind:
        return FetchJob(artifact=Download(url="file:/x"))
    return PushJob(name="N", tag="n", arch=Arch.AMD64, version="v", format=Format.RAW, site="s", properties={})


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(0, 12))
    tasks: list[Task] = []
    for number in range(count):
        before = [task.id for task in tasks]
        edges = st.lists(st.sampled_from(before), unique=True, max_size=4) if before else st.just([])
        tasks.append(
            Task(
                id=f"t{number}",
                job=job(draw(st.booleans())),
                reason="",
                needs=tuple(draw(edges)),
                after=tuple(draw(edges)),
                lane=draw(st.sampled_from(["", "", "x"])),
                cached=draw(st.sampled_from([False, False, False, True])),
            )
        )
    return Plan(version="v", tasks=tuple(tasks))


LIMITS = st.fixed_dictionaries({resource: st.integers(1, 3) for resource in Resource})


def descendants(plan: Plan, roots: set[str]) -> set[str]:
    """Return the tasks that need one of the roots, directly or not; the plan's order makes one pass enough."""
    reached = set(roots)
    for task in plan.tasks:
        if reached & set(task.needs):
            reached.add(task.id)
    return reached - roots


@settings(deadline=None, max_examples=samples(25, 100))
@given(plans(), LIMITS, st.data())
def test_schedule_starts_each_task_once_after_its_needs_and_within_limits(
    plan: Plan, limits: dict[Resource, int], data: st.DataObject
) -> None:
    failing = set(data.draw(st.lists(st.sampled_from([t.id for t in plan.tasks] or [""]), max_size=3)))
    schedule = Schedule(plan, limits)
    tasks = {task.id: task for task in plan.tasks}
    running: list[Task] = []
    started: list[str] = []
    while True:
        schedule.settle()
        chosen = schedule.start()
        for task in chosen:
            assert all(schedule.results[need].status in GOOD for need in task.needs)
            assert all(other in schedule.results for other in task.after)
        running += chosen
        started += [task.id for task in chosen]
        for resource in Resource:
            assert sum(task.resource is resource for task in running) <= limits[resource]
        assert sum(task.lane == "x" for task in running) <= LANE
        if not running:
            break
        task = running.pop(data.draw(st.integers(0, len(running) - 1)))
        status = Status.FAILED if task.id in failing else Status.DONE
        schedule.finish(Result(task=task.id, status=status, error="boom"))
    assert len(started) == len(set(started))
    assert schedule.results.keys() == tasks.keys()
    failed = {name for name, result in schedule.results.items() if result.status is Status.FAILED}
    blocked = {name for name, result in schedule.results.items() if result.status is Status.BLOCKED}
    assert failed == failing & set(started)
    assert blocked == descendants(plan, failed)


@settings(max_examples=30, deadline=None)
@given(plans(), LIMITS, st.sets(st.integers(0, 11)))
def test_run_ends_with_a_result_for_every_task(plan: Plan, limits: dict[Resource, int], failing: set[int]) -> None:
    lock, active = threading.Lock(), dict.fromkeys(Resource, 0)

    def perform(task: Task) -> Result:
        with lock:
            active[task.resource] += 1
            assert active[task.resource] <= limits[task.resource]
        time.sleep(0.001)
        with lock:
            active[task.resource] -= 1
        return Result(task=task.id, status=Status.FAILED if int(task.id[1:]) in failing else Status.DONE)

    with ThreadPoolExecutor(12) as pool:
        seen: list[str] = []
        results = run(
            plan,
            perform,
            dict.fromkeys(Resource, pool),
            limits,
            watch=Watch(on_task_ended=lambda result: seen.append(result.task)),
        )
    assert sorted(seen) == sorted(results) == sorted(task.id for task in plan.tasks)


def chain(*names: str) -> Plan:
    tasks = [Task(id=name, job=job(True), reason="", needs=names[:number][-1:]) for number, name in enumerate(names)]
    return Plan(version="v", tasks=tuple(tasks))


def performing(stop: threading.Event) -> list[str]:
    started: list[str] = []

    def perform(task: Task) -> Result:
        started.append(task.id)
        stop.set()
        return Result(task=task.id, status=Status.DONE)

    with ThreadPoolExecutor(1) as pool:
        results = run(
            chain("a", "b", "c"),
            perform,
            dict.fromkeys(Resource, pool),
            dict.fromkeys(Resource, 1),
            watch=Watch(stopping=stop.is_set),
        )
    assert {name: result.status for name, result in results.items() if name != "a"} == {
        "b": Status.INTERRUPTED,
        "c": Status.INTERRUPTED,
    }
    return started


def test_nothing_starts_after_the_run_was_asked_to_stop() -> None:
    assert performing(threading.Event()) == ["a"]


def test_fail_fast_starts_nothing_after_a_failure() -> None:
    plan = Plan(version="v", tasks=tuple(Task(id=name, job=job(True), reason="") for name in "abc"))
    with ThreadPoolExecutor(1) as pool:
        results = run(
            plan,
            lambda task: Result(task=task.id, status=Status.FAILED, error="boom"),
            dict.fromkeys(Resource, pool),
            dict.fromkeys(Resource, 1),
            fail_fast=True,
        )
    assert [result.status for result in results.values()] == [Status.FAILED, Status.INTERRUPTED, Status.INTERRUPTED]


def test_a_blocked_task_names_the_failure_at_the_root() -> None:
    with ThreadPoolExecutor(1) as pool:
        results = run(
            chain("a", "b", "c"),
            lambda task: Result(task=task.id, status=Status.FAILED, error="boom"),
            dict.fromkeys(Resource, pool),
            dict.fromkeys(Resource, 1),
        )
    assert results["c"].status is Status.BLOCKED
    assert results["c"].error == "a failed"


def planned(count: int) -> Plan:
    return Plan(version="v", tasks=tuple(Task(id=f"t{number}", job=job(True), reason="") for number in range(count)))


def test_cores_and_memory_are_booked() -> None:
    limits = dict.fromkeys(Resource, 9) | {Resource.CORES: 3, Resource.MEMORY: 4096}
    books = {
        "t0": {Resource.CORES: 2, Resource.MEMORY: 1024},
        "t1": {Resource.CORES: 2, Resource.MEMORY: 1024},
        "t2": {Resource.CORES: 1, Resource.MEMORY: 4096},
        "t3": {Resource.CORES: 1, Resource.MEMORY: 1024},
    }
    schedule = Schedule(planned(5), limits, reserved(books))
    assert [task.id for task in schedule.start()] == ["t0", "t3", "t4"], "two cores of three, then the third"
    schedule.finish(Result(task="t0", status=Status.DONE))
    assert [task.id for task in schedule.start()] == ["t1"]
    schedule.finish(Result(task="t3", status=Status.DONE))
    assert schedule.start() == [], "the memory is not enough beside t1"
    schedule.finish(Result(task="t1", status=Status.DONE))
    assert [task.id for task in schedule.start()] == ["t2"]


class Busy:
    """A desk at which others take everything for some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = self.idles = looks

    def share(self, decide: Decide) -> None:
        self.looks -= 1
        held = Counter({Resource.BUILD: 1, Resource.MEMORY: 9}) if self.looks >= 0 else Counter[Resource]()
        decide(OthersUsage(held=held), ())

    def idle(self) -> None:
        self.idles -= 1


def test_a_run_that_others_leave_nothing_looks_again_now_and_then() -> None:
    desk, began = Busy(3), time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        results = run(
            planned(1),
            lambda task: Result(task=task.id, status=Status.DONE),
            dict.fromkeys(Resource, pool),
            dict.fromkeys(Resource, 1) | {Resource.MEMORY: 9},
            uses={"t0": {Resource.MEMORY: 1}},
            reservations=desk,
        )
    assert results["t0"].status is Status.DONE
    assert desk.idles == 0, "it was idle at each of the three looks, and not when everything was over"
    assert time.monotonic() - began >= 3 * TICK


def test_what_takes_more_than_there_is_runs_alone() -> None:
    limits = dict.fromkeys(Resource, 9) | {Resource.CORES: 1}
    schedule = Schedule(planned(2), limits, reserved({f"t{number}": {Resource.CORES: 4} for number in range(2)}))
    assert [task.id for task in schedule.start()] == ["t0"]
    schedule.finish(Result(task="t0", status=Status.DONE))
    assert [task.id for task in schedule.start()] == ["t1"]
