"""How builder hosts stand: what they say, what the store knows, and what waits; behind an ssh that is a script."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cc_images import clock
from cc_images.engine.events import Ended, EventLog
from cc_images.host import record_files
from cc_images.model import attempt_shapes
from cc_images.model.attempt import Claim, Waiting
from cc_images.model.events import Started, Step
from cc_images.model.fleet import AtWork, FleetStatus, HostState, HostStatus, MachineState, MachineStatus
from cc_images.model.plan import Plan, Result, Status, Task
from cc_images.remote.attempt_files import AttemptFiles
from cc_images.remote.machine_files import MachineFiles
from cc_images.remote.machine_steps import Record
from cc_images.remote.placement import Placed
from cc_images.remote.queue import Queue
from cc_images.remote.survey import facts_here
from cc_images.report.fleet import WIDTH, fleet
from cc_images.store.journal import Journal, events_path
from cc_images.store.records import Store
from cc_images.store.workspace import Run
from tests.conftest import GOLDEN, Cli, write_files
from tests.support.jobs import build_job, layer_job

BUILDERS = """\
east: {ssh: east, limits: 2, architectures: [amd64, arm64]}
west: {ssh: west}
gone: {ssh: gone}
dumb: {ssh: dumb}
"""

SSH = """\
#!/bin/sh
together() {  # all four are asked before one has answered
    [ -z "$TOGETHER" ] && return
    mkdir -p FOLDER/asked; touch FOLDER/asked/$1; n=0
    while [ $(ls FOLDER/asked | wc -l) -lt 4 ]; do
        n=$((n + 1)); [ $n -gt 300 ] && exit 9
        sleep 0.1
    done
}
case "$*" in
    *"-G "*) echo "user root"; echo "hostname 10.0.0.$(expr length "$2")"; echo "port 2222"; exit;;
    *" gone "*) together gone; echo "ssh: connect to host gone: No route to host" >&2; exit 255;;
    *" dumb "*) together dumb; echo "{}"; exit;;
    *" east "*) together east; cat FOLDER/east.json; exit;;
    *" west "*) together west; cat FOLDER/west.json; exit;;
esac
exit 1
"""


@pytest.fixture
def bed(tmp_path: Path, store: Store) -> dict[str, str]:
    """Write a project with four builder hosts; return the environment in which ssh reaches them."""
    write_files(tmp_path, images="CC-X: {elements: [a]}\n", sites="")
    (tmp_path / "builders.yaml").write_text(BUILDERS)
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH.replace("FOLDER", str(tmp_path)))
    program.chmod(0o755)
    same = facts_here(store)
    (tmp_path / "east.json").write_text(json.dumps(same | {"cores": 64, "programs": {"buildah": "9.9.9"}}))
    (tmp_path / "west.json").write_text(json.dumps(same | {"version": "0.0.1\033[2J"}))
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


@pytest.fixture
def alive(store: Store) -> Iterator[Run]:
    made = store.start_run(clock.now())
    yield made
    made.close()


def attempt(store: Store, run: str, number: int, builder: str, *tasks: str) -> AttemptFiles:
    files = AttemptFiles(store, f"a{number:032x}")
    claim = Claim(attempt=files.attempt, run=run, tasks=tasks, builder=builder, made=time.time() - 60, owner="pablo")
    files.create(claim, "t" * 43, {"format": 1}, ())
    return files


def shown(cli: Cli, bed: dict[str, str]) -> tuple[int, dict[str, Any], list[Any]]:
    done = cli("builders", "--json", **bed)
    assert not done.stderr, done.stderr
    said = json.loads(done.stdout)
    return done.returncode, {each["name"]: each for each in said["builders"]}, said["queue"]


def test_hosts_are_asked_at_a_time_and_stand_as_they_say(cli: Cli, bed: dict[str, str]) -> None:
    code, hosts, queue = shown(cli, bed | {"TOGETHER": "1"})
    assert (code, queue) == (3, [])
    assert {name: each["state"] for name, each in hosts.items()} == {
        "here": "idle", "east": "idle", "west": "unfit", "gone": "silent", "dumb": "silent",
    }  # fmt: skip
    assert hosts["gone"]["why"].endswith("No route to host")
    assert hosts["west"]["why"].startswith("has cc-images 0.0.1")
    assert hosts["west"]["why"].isprintable()
    east = hosts["east"]
    assert (east["reached"], east["address"], east["cores"], east["limit"]) == ("ssh east", "10.0.0.4:2222", 64, 2)
    assert east["why"].startswith("some images are not built there: buildah is 9.9.9, and the head has ")
    assert (east["architectures"], east["machines"]) == (["amd64", "arm64"], [])


def test_attempts_are_shown_with_owner_task_and_age_while_they_may_be_at_work(
    cli: Cli, bed: dict[str, str], store: Store, alive: Run, tmp_path: Path
) -> None:
    tasks = ("build cc-x amd64", "convert cc-x amd64")
    works = attempt(store, alive.name, 1, "east", *tasks)
    works.grant(time.time(), "n1")
    lines = [{"event": "Started", "task": tasks[0]}, {"log": "x\n", "task": tasks[0]}, {"ended": {"task": tasks[0]}},
             {"event": "Step", "task": tasks[1], "doing": "qcow2"}, {"log": "y\n", "task": tasks[1]}]  # fmt: skip
    works.append(0, "".join(f"{json.dumps(each)}\n" for each in lines).encode())
    attempt(store, alive.name, 2, "east", "layer cc-y amd64")
    given_up = attempt(store, alive.name, 3, "west", "build cc-z amd64")
    given_up.grant(time.time(), "n3")
    given_up.fence("enough")
    over = attempt(store, alive.name, 4, "west", "build cc-over amd64")
    over.grant(time.time(), "n4")
    over.append(0, b'{"over": 0}\n')
    dead = attempt(store, "20200101T000000Z-elsewhere-01234567", 5, "west", "build cc-dead amd64")
    dead.grant(time.time() - 1000, "n5")
    unheard = attempt(store, alive.name, 6, "gone", "build cc-w amd64")
    unheard.grant(time.time() - 1000, "n6")
    there = {"attempts": [works.attempt, "a" + "f" * 32]}
    (tmp_path / "east.json").write_text(json.dumps(json.loads((tmp_path / "east.json").read_text()) | there))

    _, hosts, _ = shown(cli, bed)
    work = [
        (name, each["task"], each["image"], each["state"], each["doing"], each["there"], each["owner"])
        for name, host in hosts.items()
        for each in host["at_work"]
    ]
    assert work == [
        ("east", "convert cc-x amd64", "cc-x", "working", "qcow2", True, "pablo"),
        ("east", "layer cc-y amd64", "cc-y", "starting", "", False, "pablo"),
        ("west", "build cc-z amd64", "cc-z", "ending", "", False, "pablo"),
        ("gone", "build cc-w amd64", "cc-w", "unheard", "", None, "pablo"),
    ]
    assert [each["age"] >= 60 for host in hosts.values() for each in host["at_work"]] == [True] * 4
    assert (hosts["east"]["state"], hosts["east"]["strangers"]) == ("active", ["a" + "f" * 32])


def test_tasks_of_this_host_and_the_queue_are_shown(cli: Cli, bed: dict[str, str], store: Store, alive: Run) -> None:
    log = EventLog(events_path(store.root, alive.version))
    for name in ("build cc-x amd64", "build cc-y amd64", "build cc-z amd64"):
        log.on_event(Started(task=name))
    log.on_event(Step(task="build cc-x amd64", doing="install.d/05-a"))
    attempt(store, alive.name, 1, "east", "build cc-z amd64")
    busy = Placed(name="", why="east and west are busy", busy=("east", "west"))
    Queue(store, alive).enter("build cc-y amd64", busy)
    _, hosts, queue = shown(cli, bed)
    assert [(each["task"], each["doing"]) for each in hosts["here"]["at_work"]] == [
        ("build cc-x amd64", "install.d/05-a")
    ]
    assert hosts["here"]["state"] == "active"
    assert [(each["position"], each["chain"], each["why"]) for each in queue] == [
        (1, "build cc-y amd64", "east and west are busy")
    ]
    plain = cli("builders", **bed)
    assert plain.returncode == 3
    assert "queue: 1 waiting\n" in plain.stdout
    assert "1  build cc-y amd64" in plain.stdout
    assert "here: is not in builders.yaml" in plain.stdout


def test_builds_that_their_runs_hold_back_are_at_the_end_of_the_queue(
    cli: Cli, bed: dict[str, str], store: Store, alive: Run
) -> None:
    def task(name: str, *needs: str, cached: bool = False) -> Task:
        job = layer_job() if name.startswith("layer") else build_job()
        return Task(id=name, job=job, reason="", needs=needs, cached=cached)

    tasks = (task("layer a amd64", cached=True), task("build b amd64", "layer a amd64"), task("build c amd64"),
             task("build d amd64", "build c amd64"), task("build e amd64", "layer a amd64"))  # fmt: skip
    notes = Journal(store.root, alive.version)
    notes.note(began=clock.now().isoformat(), words=[], plan=Plan(version=alive.version, tasks=tasks).as_json())
    log = EventLog(events_path(store.root, alive.version))
    log.on_event(Started(task="build c amd64"))
    Queue(store, alive).enter("build e amd64", Placed(name="", why="east is busy", busy=("east",)))
    log.on_event(Started(task="build e amd64"))
    _, _, queue = shown(cli, bed)
    assert [(each["position"], each["chain"]) for each in queue] == [(1, "build e amd64"), (2, "build b amd64")]
    log.on_event(Ended(result=Result(task="build c amd64", status=Status.DONE)))
    assert [each["chain"] for each in shown(cli, bed)[2]] == ["build e amd64", "build b amd64", "build d amd64"]


def test_a_cloud_that_does_not_answer_is_said_so_beside_the_machines_of_the_records(
    cli: Cli, tmp_path: Path, store: Store
) -> None:
    write_files(tmp_path, images="CC-X: {elements: [a]}\n", sites="")
    entry = "{architectures: [amd64], provider: {cloud: nowhere, flavor: f, image: i, reserve: 1}}"
    (tmp_path / "builders.yaml").write_text(f"burst: {entry}\n")
    files = MachineFiles(store, "burst")
    with files.locked():
        files.write(Record(name="cc-burst-1", made=time.time() - 120, id="id1"))
    code, hosts, _ = shown(cli, {})
    burst = hosts["burst"]
    assert (code, burst["state"]) == (3, "silent")
    assert "clouds.yaml" in burst["why"]
    assert [(each["name"], each["id"], each["state"]) for each in burst["machines"]] == [
        ("cc-burst-1", "id1", "unknown")
    ]
    assert 120 <= burst["machines"][0]["age"] < 180


def test_without_builders_there_is_this_host_and_all_is_well(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-X: {elements: [a]}\n")
    done = cli("builders", "--json")
    (host,) = json.loads(done.stdout)["builders"]
    assert (done.returncode, host["name"], host["state"], host["why"]) == (0, "here", "idle", "")
    assert json.loads(done.stdout)["queue_length"] == 0


def test_the_table_fits_its_columns_whatever_names_are() -> None:
    work = AtWork(
        task=f"build {'x' * 200} amd64", run="r", began=0.0, owner="o" * 80, doing="d" * 300, attempt="a" * 33
    )
    host = HostStatus(
        name="n" * 63, reached=f"ssh {'r' * 90}", address=f"{'a' * 250}:22", why="w " * 200, state=HostState.UNFIT,
        architectures=("amd64", "arm64"), cores=128, limit=1000, at_work=(work,), strangers=("a",),
        machines=(MachineStatus(name="m" * 90, since=0.0, state=MachineState.RESERVE, id="i" * 36,
                                address=f"[{'f' * 39}]:22", user="a" * 33),),
    )  # fmt: skip
    queue = (Waiting(chain="c" * 200, run="r", since=0.0, why="y" * 300),) * 12
    lines = fleet(FleetStatus(now=5e9, hosts=(host,), queue=queue))
    assert max(map(len, lines)) <= WIDTH
    assert lines[-1].startswith("12  ccc")


def test_notes_of_the_queue_have_a_format() -> None:
    found = record_files.load(GOLDEN / "waiting-1.json", attempt_shapes.WaitingShape)
    assert record_files.encoded(attempt_shapes.WaitingShape, found) == json.loads(
        (GOLDEN / "waiting-1.json").read_text()
    )
    assert Waiting(**{key: value for key, value in found.items() if key != "format"}).chain == "build cc-debian12 arm64"
