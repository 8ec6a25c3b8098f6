"""The ledger: runs of one store together take no more than the host has, wait in turn, and the dead hold only room."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from cc_images.engine.reservations import HURRY, PAGE, SharedReservations
from cc_images.engine.resources import OthersUsage, Usage
from cc_images.engine.schedule import Schedule
from cc_images.host.files import try_lock
from cc_images.model.catalog import Download
from cc_images.model.plan import RESOURCES, FetchJob, Plan, Resource, Result, Status, Task
from cc_images.store.records import Store
from cc_images.store.workspace import Run
from tests.conftest import GOLDEN, NOW
from tests.support import engine

AT_WORK = {Resource.BUILD: 1, Resource.MEMORY: 600, Resource.DISK: 50}
LIMITS = dict.fromkeys(Resource, 9) | {Resource.MEMORY: 1000, Resource.DISK: 1000}
Amounts = Mapping[Resource, int]


@pytest.fixture
def runs(store: Store) -> Iterator[list[Run]]:
    made = [store.start_run(NOW) for _ in range(3)]
    yield made
    for each in made:
        store.finish_run(each, shutil.rmtree)


def seen(
    ledger: SharedReservations, takes: Amounts | None = None, keeps: Amounts | None = None, wants: Amounts | None = None
) -> Amounts:
    """Let a run book something; return what it saw of others."""
    saw: list[Amounts] = []

    def decide(elsewhere: OthersUsage, asleep: object) -> Usage:
        saw.append(+(elsewhere.held + elsewhere.gone))
        return Usage(takes=takes or {}, keeps=keeps or {}, wants=wants or {})

    ledger.share(decide)
    return saw[0]


@pytest.mark.parametrize("number", [0, 1])
def test_a_page_of_each_format_is_read(store: Store, runs: list[Run], number: int) -> None:
    shutil.copy(GOLDEN / f"booked-{number}.json", runs[0].work / PAGE)
    other = SharedReservations(store=store, run=runs[1])
    assert seen(other, AT_WORK) == {Resource.DISK: 9000}, "of a run on another host only the room in the store counts"
    assert json.loads((runs[1].work / PAGE).read_text())["format"] == 1


def test_a_run_sees_what_the_others_have_booked(store: Store, runs: list[Run]) -> None:
    first, second, third = (SharedReservations(store=store, run=run) for run in runs)
    assert seen(first, AT_WORK) == {}
    assert seen(second, {Resource.DISK: 50}) == AT_WORK
    assert seen(third, AT_WORK) == AT_WORK | {Resource.DISK: 100}
    assert seen(second) == {Resource.BUILD: 2, Resource.MEMORY: 1200, Resource.DISK: 100}
    first.close()
    assert seen(second) == AT_WORK


def test_what_came_to_stay_before_a_run_began_is_not_free_then_anyway(store: Store, runs: list[Run]) -> None:
    working, early = (
        SharedReservations(store=store, run=runs[0], moment=0),
        SharedReservations(store=store, run=runs[1]),
    )
    seen(working, AT_WORK, {Resource.DISK: 300})
    late = SharedReservations(store=store, run=runs[2])
    assert (seen(early)[Resource.DISK], seen(late)[Resource.DISK]) == (350, 50)
    seen(working, AT_WORK, {Resource.DISK: 400})
    assert (seen(early)[Resource.DISK], seen(late)[Resource.DISK]) == (450, 150)
    working.close()
    assert (seen(early), seen(late)) == ({Resource.DISK: 400}, {Resource.DISK: 100}), "it stays when the run is over"


def test_of_the_dead_and_of_other_hosts_only_the_room_counts(store: Store, runs: list[Run]) -> None:
    dead, looking = store.start_run(NOW), SharedReservations(store=store, run=runs[0])
    seen(SharedReservations(store=store, run=dead), AT_WORK, wants={Resource.MEMORY: 9})
    assert seen(looking) == AT_WORK | {Resource.MEMORY: 609}
    page = json.loads((dead.work / PAGE).read_text())
    (dead.work / PAGE).write_text(json.dumps(page | {"host": "another"}))
    assert seen(looking) == {Resource.DISK: 50}
    (dead.work / PAGE).write_text(json.dumps(page))
    dead.close()
    assert seen(looking) == {Resource.DISK: 50}, "its disk lies there until somebody clears up"


@pytest.mark.parametrize(
    "text", ["", "[]", "\0", "{}", '{"takes": {"magic": 1}}', '{"takes": {"memory": Infinity}}', "[" * 100_000]
)
def test_an_illegible_page_says_nothing(store: Store, runs: list[Run], text: str) -> None:
    (runs[1].work / PAGE).write_text(text)
    assert seen(SharedReservations(store=store, run=runs[0]), AT_WORK) == {}


def test_a_store_that_cannot_be_written_to_keeps_nobody_from_working(store: Store, runs: list[Run]) -> None:
    first, second = (SharedReservations(store=store, run=run) for run in runs[:2])
    seen(first, AT_WORK)
    shutil.rmtree(store.root / "locks")
    (store.root / "locks").write_text("a file where a folder should be")
    assert seen(second) == AT_WORK, "no lock, but the pages can be read"
    work = runs[1].work.rename(runs[1].work.with_name("elsewhere"))
    seen(second, AT_WORK)
    assert seen(second, AT_WORK) == {}, "nobody sees what it takes, so it does not wait for what others say either"
    work.rename(runs[1].work)
    seen(second, AT_WORK)
    assert seen(second, AT_WORK) == AT_WORK, "its page could be turned again"
    assert seen(first) == AT_WORK
    (store.root / "locks").unlink()


def test_one_who_sits_on_the_ledger_is_not_waited_for(store: Store, runs: list[Run]) -> None:
    seen(SharedReservations(store=store, run=runs[0]), AT_WORK)
    assert try_lock(store.lock_path("ledger")) is not None
    looking = SharedReservations(store=store, run=runs[1], patience=0.06)
    assert seen(looking) == AT_WORK
    assert looking.waits == HURRY, "and not as long the next time"


def test_whoever_waits_longer_comes_first(store: Store, runs: list[Run]) -> None:
    working, first, second = (SharedReservations(store=store, run=run) for run in runs)
    seen(working, AT_WORK)
    wanted = {Resource.MEMORY: 700}
    for ledger in (first, second):
        seen(ledger, wants=wanted)
        time.sleep(0.01)
    assert seen(first, wants=wanted) == AT_WORK, "nothing is kept free of it for one that came later"
    assert seen(second, wants=wanted) == AT_WORK | {Resource.MEMORY: 1300}
    assert seen(working, AT_WORK) == {Resource.MEMORY: 1400}, "who has something at work starts nothing more of it"
    seen(first, AT_WORK)
    assert seen(working, wants=wanted) == AT_WORK | {Resource.MEMORY: 1300}
    assert seen(second, wants=wanted) == AT_WORK, "now it is the one that has waited longest"
    page = json.loads((runs[2].work / PAGE).read_text())
    (runs[2].work / PAGE).write_text(json.dumps(page | {"looked": page["looked"] - 60}))
    assert seen(working, wants=wanted) == AT_WORK, "it looks no longer: it is frozen"


def test_whom_an_idle_run_waits_for_is_said_once(store: Store, runs: list[Run]) -> None:
    said: list[str] = []
    working, idle = (
        SharedReservations(store=store, run=runs[0]),
        SharedReservations(store=store, run=runs[1], on_wait=said.append),
    )
    seen(working, AT_WORK)
    for _ in range(3):
        seen(idle, wants=AT_WORK)
        idle.idle()
    assert said == [f"memory, cores or room booked by run {runs[0].version}"]
    seen(idle, AT_WORK)
    seen(idle, wants=AT_WORK)
    idle.idle()
    assert len(said) == 2, "it has been at work since"


def tasks(count: int) -> Plan:
    job = FetchJob(artifact=Download(url="file:/x"))
    return Plan(version="v", tasks=tuple(Task(id=f"t{number}", job=job, reason="") for number in range(count)))


def carried_out(
    ledger: SharedReservations, count: int, books: engine.Amounts, perform: Callable[[Task], Result]
) -> Mapping[str, Result]:
    with ThreadPoolExecutor(count) as pool:
        executors = dict.fromkeys(RESOURCES.values(), pool)
        return engine.run(tasks(count), perform, executors, LIMITS, uses=books, reservations=ledger)


def test_runs_together_never_take_more_than_there_is(
    store: Store, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for_ever = [SharedReservations(store=store, run=run, patience=60) for run in runs]
    taken, most, lock = 0, 0, threading.Lock()
    books = {f"t{number}": {Resource.MEMORY: 250 + 50 * number} for number in range(6)}

    def perform(task: Task) -> Result:
        nonlocal taken, most
        takes = books[task.id][Resource.MEMORY]
        with lock:
            taken += takes
            most = max(most, taken)
        time.sleep(0.05)
        with lock:
            taken -= takes
        return Result(task=task.id, status=Status.DONE)

    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda ledger: carried_out(ledger, 6, books, perform), for_ever))
    assert [len(results) for results in ended] == [6, 6, 6]
    assert 500 < most <= 1000, "more than one at a time, where there is room"


def test_a_run_that_finds_everything_taken_has_its_turn_before_the_other_is_over(store: Store, runs: list[Run]) -> None:
    busy = threading.Event()
    order: list[str] = []

    def perform(task: Task, who: str) -> Result:
        order.append(who)
        busy.set()
        deadline = time.monotonic() + 30
        while not (runs[1].work / PAGE).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return Result(task=task.id, status=Status.DONE)

    def long() -> None:
        books = {f"t{number}": {Resource.MEMORY: 450} for number in range(20)}
        carried_out(SharedReservations(store=store, run=runs[0]), 20, books, lambda task: perform(task, "long"))

    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(long)
        busy.wait(10)
        books = {"t0": {Resource.MEMORY: 900}}
        carried_out(SharedReservations(store=store, run=runs[1]), 1, books, lambda task: perform(task, "short"))
        ending.result(30)
    assert order.index("short") < len(order) - 2
    assert order.count("long") == 20


def test_two_runs_of_which_each_sleeps_on_what_the_other_has_made_both_end(store: Store, runs: list[Run]) -> None:
    made = threading.Event()
    runs[0].sleep("t0")

    def sleeping(task: Task) -> Result:
        status = Status.DONE if made.wait(5) else Status.FAILED
        runs[0].wake(task.id)
        return Result(task=task.id, status=status)

    def making(task: Task) -> Result:
        made.set()
        return Result(task=task.id, status=Status.DONE)

    books = {"t0": {Resource.MEMORY: 900}}
    with ThreadPoolExecutor(1) as pool:
        ledger = SharedReservations(store=store, run=runs[0])
        ending = pool.submit(carried_out, ledger, 1, books, sleeping)
        time.sleep(0.3)
        carried_out(SharedReservations(store=store, run=runs[1]), 1, books, making)
        assert ending.result(10)["t0"].status is Status.DONE


def test_what_others_take_is_waited_for_but_not_what_they_do_not_take() -> None:
    def elsewhere(gone: Amounts | None = None, **held: int) -> OthersUsage:
        return OthersUsage(
            held=Counter({Resource(each): count for each, count in held.items()}), gone=Counter(gone or {})
        )

    def schedule() -> Schedule:
        books = {name: {Resource.DISK: 700, Resource.MEMORY: 10} for name in ("t0", "t1")}
        made = Schedule(tasks(2), LIMITS, engine.reserved(books, kept={"t0": {Resource.DISK: 700}}))
        assert [task.id for task in made.start()] == ["t0"]
        assert made.usage().wants == {}
        made.finish(Result(task="t0", status=Status.DONE))
        wanted = {Resource.FETCH: 1, Resource.DISK: 700, Resource.MEMORY: 10}
        assert made.usage() == Usage(takes={}, keeps={Resource.DISK: 700}, wants=wanted)
        return made

    assert schedule().start(elsewhere(build=1, disk=1)) == [], "another run is at work, and will give back some room"
    for others in (
        elsewhere(disk=600),
        elsewhere(push=1),
        elsewhere(boot=1, memory=500),
        elsewhere({Resource.DISK: 9}, push=1),
    ):
        assert [task.id for task in schedule().start(others)] == ["t1"], others


def test_places_are_a_runs_own_and_sleepers_take_nothing() -> None:
    schedule = Schedule(tasks(1), LIMITS, engine.reserved({"t0": {Resource.MEMORY: 700}}))
    assert [task.id for task in schedule.start(OthersUsage(held=Counter({Resource.FETCH: 99})))] == ["t0"]
    assert schedule.usage().takes == {Resource.FETCH: 1, Resource.MEMORY: 700}
    assert schedule.usage({"t0"}).takes == {}
