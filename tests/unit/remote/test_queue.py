"""Chains that wait for a builder host: noted while they wait, and no longer."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from cc_images.errors import Interrupted
from cc_images.model.attempt import BuilderHost
from cc_images.model.catalog import Arch
from cc_images.model.plan import Task
from cc_images.remote.fleet import Fleet
from cc_images.remote.launchers.ssh import SshLauncher
from cc_images.remote.placement import Chain, Host, Placed
from cc_images.remote.queue import Queue, waiting
from cc_images.store.notes import RunSettings
from cc_images.store.records import Store
from cc_images.store.run_context import RunContext
from cc_images.store.workspace import Run
from tests.conftest import NOW
from tests.support.jobs import build_job

ENTRY = BuilderHost(name="east", ssh="east", hub="https://10.0.0.1:1", ca="")


def chain(tag: str) -> Chain:
    return Chain(tasks=(Task(id=f"build {tag} amd64", job=build_job(tag=tag), reason=""),))


def fleet(store: Store, run: Run) -> Fleet:
    made = Fleet([Host(entry=ENTRY, arch=Arch.AMD64)], {}, lambda entry: SshLauncher(entry, "/hub"))
    made.share(RunContext(store=store, run=run, settings=RunSettings(began=0.0)))
    return made


def until(store: Store, count: int) -> list[str]:
    """Return the chains that wait, once there are so many."""
    deadline = time.monotonic() + 10
    while len(found := waiting(store)) != count and time.monotonic() < deadline:
        time.sleep(0.02)
    return [each.chain for each in found]


def test_who_waits_is_noted_in_order_until_there_is_a_place(store: Store, run: Run) -> None:
    hosts = fleet(store, run)
    threads, go = [], threading.Event()

    def use(tag: str) -> None:
        with hosts.taken(chain(tag), (), threading.Event()):
            go.wait(10)

    for number, tag in enumerate(("cc-a", "cc-b", "cc-c")):
        threads.append(threading.Thread(target=use, args=(tag,)))
        threads[-1].start()
        assert len(until(store, number)) == number
        time.sleep(0.05)
    assert until(store, 2) == ["build cc-b amd64", "build cc-c amd64"]
    (first, _) = waiting(store)
    assert (first.run, first.why, bool(first.owner)) == (run.name, "east is busy", True)
    go.set()
    for each in threads:
        each.join(10)
    assert until(store, 0) == []


def test_many_at_work_are_looked_at_less_often_and_still_in_time(store: Store, run: Run) -> None:
    hosts = Fleet(
        [Host(entry=replace(ENTRY, tasks=200), arch=Arch.AMD64)], {}, lambda entry: SshLauncher(entry, "/hub")
    )
    pauses = [hosts.pause]
    with ExitStack() as held:
        for number in range(200):
            held.enter_context(hosts.taken(chain(f"cc-{number}"), (), threading.Event()))
            pauses.append(hosts.pause)
    assert pauses == sorted(pauses)
    assert (pauses[50], pauses[100], pauses[200]) == (0.2, 0.4, 0.5), "a line of a log is there within a second"
    assert hosts.pause == 0.2


def test_runs_of_a_store_share_places_and_wait_in_one_line(store: Store) -> None:
    runs = [store.start_run(NOW) for _ in range(4)]
    fleets = [fleet(store, each) for each in runs]
    got: list[int] = []
    threads: list[threading.Thread] = []
    go = [threading.Event() for _ in runs]

    def use(number: int) -> None:
        with fleets[number].taken(chain("cc-a"), (), threading.Event()):
            got.append(number)
            go[number].wait(20)

    for number in range(4):
        threads.append(threading.Thread(target=use, args=(number,)))
        threads[-1].start()
        assert len(until(store, number)) == number, "the same image in every run"
        time.sleep(0.05)
    for number in range(4):
        go[number].set()
        threads[number].join(20)
        deadline = time.monotonic() + 10
        while len(got) < min(4, number + 2) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert got == [0, 1, 2, 3], "one at a time, in the order in which they came"
    for each in runs:
        each.close()


def test_a_killed_run_gives_its_places_back_and_leaves_the_line(store: Store, run: Run) -> None:
    ready, told = os.pipe()
    children = []
    for number in range(2):  # the first one has the place, the second one waits
        child = os.fork()
        if child == 0:
            mine = store.start_run(NOW)
            os.write(told, b"x")
            with suppress(BaseException), fleet(store, mine).taken(chain(f"cc-{number}"), (), threading.Event()):
                os.write(told, b"y")
                time.sleep(60)
            os._exit(1)
        children.append(child)
        os.read(ready, 1)
        if number == 0:
            os.read(ready, 1)
    assert until(store, 1) == ["build cc-1 amd64"]
    began = time.monotonic()
    for child in reversed(children):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert waiting(store) == []
    with fleet(store, run).taken(chain("cc-b"), (), threading.Event()):
        assert time.monotonic() - began < 5


def test_who_waits_for_one_host_does_not_keep_others_from_another(store: Store, run: Run) -> None:
    line = Queue(store, run)
    line.enter("build cc-a amd64", Placed(name="", why="", busy=("east",)))
    assert line.before("build cc-b amd64") == {"east": 1}
    assert line.before("build cc-a amd64") == {}
    with line.left_by("build cc-a amd64"):
        line.enter("build cc-a amd64", Placed(name="", why="", busy=("west",)))
    assert (line.before("build cc-b amd64"), waiting(store)) == ({}, [])


def test_a_wait_that_is_ended_leaves_the_queue(store: Store, run: Run) -> None:
    hosts, stop = fleet(store, run), threading.Event()
    with hosts.taken(chain("cc-a"), (), stop):
        stop.set()
        with pytest.raises(Interrupted), hosts.taken(chain("cc-b"), (), stop):
            pass
        threading.Timer(0.2, stop.set).start()
        stop.clear()
        with pytest.raises(Interrupted), hosts.taken(chain("cc-c"), (), stop):
            pass
    assert waiting(store) == []


def test_chains_of_a_dead_run_do_not_wait(store: Store) -> None:
    run = store.start_run(NOW)
    Queue(store, run).enter("build cc-a amd64", Placed(name="", why="east is busy", busy=("east",)))
    assert until(store, 1) == ["build cc-a amd64"]
    run.close()
    assert waiting(store) == []
    shutil.rmtree(run.work)


def test_a_queue_that_cannot_be_written_ends_nothing(store: Store, run: Run) -> None:
    (run.work / "queue").write_text("no folder")
    hosts, stop = fleet(store, run), threading.Event()
    with hosts.taken(chain("cc-a"), (), stop):
        threading.Timer(0.2, stop.set).start()
        with pytest.raises(Interrupted), hosts.taken(chain("cc-b"), (), stop):
            pass
