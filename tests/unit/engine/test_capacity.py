"""What is booked for whom: by what was measured, else by the catalogue; and that builds wait instead of dying."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.engine.capacity import (
    BUILD_MIB,
    DISK_MIB,
    MARGIN,
    OUTPUT_MIB,
    RESERVE_MIB,
    Host,
    book,
    copies,
    left_in_groups,
)
from cc_images.engine.execute import execute
from cc_images.engine.forecast import Forecast
from cc_images.engine.resources import Reservation
from cc_images.engine.schedule import Schedule
from cc_images.model.catalog import Arch, Format
from cc_images.model.plan import BuildJob, ConvertJob, Plan, PushJob, Resource, Result, Status, Task
from cc_images.model.site import Site
from cc_images.store.durations import REMEMBERED, History, Took
from tests.support.engine import Calls
from tests.support.jobs import build_job

HOST = Host(cores=8, memory=12_000, disk=100_000)


def build(number: int, scratch: int = 6) -> Task:
    job = build_job(name=f"I{number}", tag=f"i{number}", version="v", scratch=scratch)
    return Task(id=f"build i{number} amd64", job=job, reason="")


def convert(number: int) -> Task:
    job = ConvertJob(
        name="I", published_name="I", tag=f"i{number}", arch=Arch.AMD64, version="v", formats=(Format.QCOW2,)
    )
    return Task(id=f"convert i{number} amd64", job=job, reason="", needs=(f"build i{number} amd64",))


def plan(*tasks: Task) -> Plan:
    return Plan(version="v", tasks=tasks)


def history(root: Path, **took: Mapping[str, int]) -> History:
    """Return a history in which the tasks `i1`, `i2`, … have taken so much."""
    made = History(root)
    for tag, peaks in took.items():
        seconds = float(peaks.get("seconds", 10))
        rest = {name: count for name, count in peaks.items() if name != "seconds"}
        made.add([Result(task=f"build {tag} amd64", status=Status.DONE, seconds=seconds, peaks=rest)])
    return History(root)


def test_what_was_never_seen_books_what_the_catalogue_says(tmp_path: Path) -> None:
    booked = book(plan(build(1)), HOST, 1, History(tmp_path))
    assert booked.reserved["build i1 amd64"].uses == {Resource.MEMORY: BUILD_MIB + (6 << 10), Resource.DISK: DISK_MIB}
    assert booked.tmpfs == {"build i1 amd64": 7200}
    booked = book(plan(build(1)), HOST, 4, History(tmp_path))
    assert booked.reserved["build i1 amd64"].uses == {Resource.MEMORY: BUILD_MIB, Resource.DISK: DISK_MIB + (6 << 10)}
    assert booked.tmpfs == {}, "six GiB for each of four do not fit into memory: the scratch folder lies on disk"
    assert booked.limits[Resource.DISK] == HOST.disk - RESERVE_MIB


def test_what_was_measured_is_booked_with_a_margin(tmp_path: Path) -> None:
    known = history(tmp_path, i1={"memory": 1000, "scratch": 1200, "disk": 400})
    booked = book(plan(build(1), convert(1)), HOST, 4, known)
    assert booked.reserved["build i1 amd64"].uses == {
        Resource.MEMORY: int(1000 * MARGIN) + int(1200 * MARGIN), Resource.DISK: int(400 * MARGIN) + OUTPUT_MIB,
    }, "the room of its conversion, too, which then waits for nobody"  # fmt: skip
    assert booked.tmpfs["build i1 amd64"] > 1200 * MARGIN, "one that has grown does not fail for it"
    assert booked.reserved["build i1 amd64"].until_consumed == {Resource.DISK: int(400 * MARGIN) + OUTPUT_MIB}, (
        "until it is converted"
    )
    assert booked.reserved["convert i1 amd64"].kept == {Resource.DISK: OUTPUT_MIB}
    assert not booked.reserved["convert i1 amd64"].uses
    stored = replace(convert(1), needs=())
    assert book(plan(stored), HOST, 4, known).reserved[stored.id].uses == {Resource.DISK: OUTPUT_MIB}, "one more format"


def test_a_push_into_a_folder_on_the_disk_of_the_store_takes_room_there(tmp_path: Path) -> None:
    sites = [
        Site(name="near", directory=str(tmp_path / "not" / "yet")),
        Site(name="far", directory="/proc"),
        Site(name="cloud", cloud="c"),
    ]
    assert copies(sites, tmp_path) == {"near"}
    pushes = [
        Task(
            id=f"push i1 amd64 to {site.name}",
            job=PushJob(name="I", tag="i1", arch=Arch.AMD64, version="v", format=Format.QCOW2, site=site.name,
                        properties={}),
            reason="",
        )
        for site in sites
    ]  # fmt: skip
    history = History(tmp_path)
    room = {Resource.DISK: OUTPUT_MIB}
    assert book(plan(*pushes), HOST, 1, history, {"near"}).reserved == {pushes[0].id: Reservation(uses=room, kept=room)}
    history.add([Result(task=pushes[0].id, status=Status.DONE, peaks={"disk": 400})])
    booked = book(plan(*pushes), HOST, 1, history, {"near"})
    room = {Resource.DISK: int(400 * MARGIN)}
    assert booked.reserved == {pushes[0].id: Reservation(uses=room, kept=room)}


def test_disks_that_wait_for_their_conversion_count(tmp_path: Path) -> None:
    host = Host(cores=8, memory=64_000, disk=11_500 + RESERVE_MIB)
    tasks = [task for number in range(6) for task in (build(number), convert(number))]
    known = history(tmp_path, **{f"i{number}": {"scratch": 100, "disk": 3200} for number in range(6)})
    booked = book(plan(*tasks), host, 8, known)
    limits = {**booked.limits, Resource.CONVERT: 1}
    schedule = Schedule(plan(*tasks), limits, booked.reserved)
    disks, most, order = 0, 0, []
    running = schedule.start()
    while running:
        running.sort(key=lambda task: isinstance(task.job, ConvertJob))  # conversions are slow
        task = running.pop(0)
        disks += 4000 if isinstance(task.job, BuildJob) else -4000
        most = max(most, disks)
        order.append(task.id)
        schedule.finish(Result(task=task.id, status=Status.DONE))
        running += schedule.start()
    assert sorted(order) == sorted(task.id for task in tasks), "none waits for ever, though what stays fills the disk"
    assert most <= 8000, "no third disk is made while two wait to be converted"


@pytest.mark.parametrize(
    ("host", "scarce", "peaks"),
    [
        (Host(cores=8, memory=4000, disk=100_000), Resource.MEMORY, {"memory": 1400, "scratch": 3000, "disk": 100}),
        (Host(cores=8, memory=64_000, disk=9000), Resource.DISK, {"memory": 100, "scratch": 100, "disk": 2500}),
    ],
)
def test_eight_builds_on_a_small_machine_wait_for_what_earlier_ones_took(
    tmp_path: Path, host: Host, scarce: Resource, peaks: Mapping[str, int]
) -> None:
    tasks = [build(number) for number in range(8)]
    booked = book(plan(*tasks), host, 8, history(tmp_path, **{f"i{number}": peaks for number in range(8)}))
    used, most, lock = 0, [0], threading.Lock()

    def perform(task: Task) -> Result:
        nonlocal used
        takes = booked.reserved[task.id].uses[scarce]
        with lock:
            used += takes
            most.append(used)
        time.sleep(0.02)
        with lock:
            used -= takes
        return Result(task=task.id, status=Status.DONE)

    with ThreadPoolExecutor(8) as pool:
        calls = Calls(perform, pool)
        results = execute(plan(*tasks), lambda task: calls, booked.limits, booked.reserved)
    assert {result.status for result in results.values()} == {Status.DONE}
    assert max(most) <= booked.limits[scarce]
    assert max(most) > booked.reserved["build i0 amd64"].uses[scarce], "more than one at a time, where there is room"


def test_a_control_group_with_less_memory_than_the_host_counts(tmp_path: Path) -> None:
    root, groups = tmp_path / "cgroup", tmp_path / "self"
    groups.write_text("0::/runner/job\n")
    job = root / "runner" / "job"
    job.mkdir(parents=True)
    (job / "memory.max").write_text("max\n")
    (job / "memory.current").write_text("5\n")
    assert left_in_groups(groups, root) == []
    files = {"max": str(1000 << 20), "current": str(300 << 20), "stat": f"anon 7\ninactive_file {50 << 20}"}
    for name, text in files.items():
        (root / "runner" / f"memory.{name}").write_text(text)
    assert left_in_groups(groups, root) == [750]
    groups.write_text("3:memory:/x\n")
    assert left_in_groups(groups, root) == left_in_groups(tmp_path / "none", root) == []


def test_a_history_remembers_the_last_runs_and_the_most_of_everything(tmp_path: Path) -> None:
    for number in range(REMEMBERED + 3):
        History(tmp_path).add(
            [
                Result(task="t", status=Status.DONE, seconds=number, peaks={"memory": 100 - number}),
                Result(task="found", status=Status.CACHED, seconds=1),
                Result(task="broken", status=Status.FAILED, seconds=1),
            ]
        )
    known = History(tmp_path)
    assert known.seconds("t") == 5, "the median of 3 to 7"
    assert known.most("t") == Took(seconds=7, memory=97)
    assert known.seconds("found") is None
    assert known.most("broken") is None
    (tmp_path / "history.json").write_text('{"t": [{"seconds": "x"}], "u": 3}')
    assert History(tmp_path).usual() == {}
    (tmp_path / "history.json").write_text("{")
    assert History(tmp_path).seconds("t") is None


def forecast(root: Path, jobs: int, *tasks: Task, **seconds: int) -> Forecast:
    known = history(root, **{tag: {"seconds": took} for tag, took in seconds.items()})
    usual = {task.id: took for task in tasks if (took := known.seconds(task.id)) is not None}
    made = plan(*tasks)
    return Forecast(plan=made, bookings=book(made, HOST, jobs, known), usual=usual)


def test_a_forecast_knows_of_limits_and_of_what_waits(tmp_path: Path) -> None:
    tasks = build(1), build(2), build(3)
    assert forecast(tmp_path / "a", 1, *tasks, i1=10, i2=20, i3=30).remaining() == 60
    side_by_side = forecast(tmp_path / "b", 3, *tasks, i1=10, i2=20, i3=30)
    assert side_by_side.remaining() == 30
    two = forecast(tmp_path / "c", 2, *tasks, i1=10, i2=20, i3=30)
    assert two.remaining() == 40
    assert two.remaining({tasks[0].id}, {tasks[1].id: 15.0, tasks[2].id: 5.0}) == 25
    assert two.remaining({task.id for task in tasks}) == 0
    assert two.remaining({tasks[0].id, tasks[1].id}, {tasks[2].id: 99.0}) == 1, "longer than usual: any moment now"


def test_a_forecast_says_what_it_does_not_know(tmp_path: Path) -> None:
    seen = forecast(tmp_path, 2, build(1), build(2), convert(2), i1=10)
    assert seen.unknown == ("build i2 amd64", "convert i2 amd64")
    assert seen.remaining() == 10
