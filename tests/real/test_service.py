"""The service as a process: builds of two accounts, logs as they grow, downloads, and what a SIGKILL leaves."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests.conftest import spread
from tests.real.conftest import Project, Watched
from tests.support.serviceprocess import PASSWORDS, Follower, Service, Start, push_untested, services

SECRET = "geheim-0815-geheim"


@pytest.fixture
def start(project: Project) -> Iterator[Start]:
    with services(project) as made:
        yield made


def test_a_build_is_requested_killed_in_followed_and_downloaded(project: Project, start: Start) -> None:
    project.environment |= {"DIB_TINY_LINGER": "1", "DIB_TINY_PASSWORD": SECRET, "CC_IMAGES_DATABASE": ""}
    service = start()
    build = service.request("ada", "CC-Tiny")
    assert service.request("ada", "cc-tiny") == build
    follower = Follower(service, build)
    assert service.wait("ada", build, "BUILDING") == "BUILDING"
    for path in (f"/build/{build}", f"/build/{build}/log"):
        assert service.ask("bob", "GET", path).status_code == 404
    assert service.ask("bob", "DELETE", f"/build/{build}").status_code == 404
    deadline = time.monotonic() + 120
    while "[build cc-tiny amd64]" not in follower.text:  # to fetch its inputs is BUILDING, too
        assert time.monotonic() < deadline, follower.text
        time.sleep(0.1)
    service.kill()
    follower.join()
    assert not follower.ended

    service = start()
    assert service.status("ada", build) in ("BUILDING", "CONVERTING"), "it is attached again"
    rest = Follower(service, build, follower.offset)
    assert service.wait("ada", build) == "FINISHED"
    rest.join()
    assert rest.ended == "FINISHED"
    assert follower.text + rest.text == service.ask("ada", "GET", f"/build/{build}/log").text
    said = service.ask("ada", "GET", f"/build/{build}").json()
    assert said["tasks"] == {"build cc-tiny amd64": "done", "convert cc-tiny amd64": "done"} | {
        each: state for each, state in said["tasks"].items() if each.startswith("fetch")
    }
    check_download(service, said["filename"], said["image_id"].partition("@")[2])
    check_logs(service, build, list(said["tasks"]))
    assert service.ask("bob", "GET", f"/images/download/{said['filename']}").status_code == 404
    theirs = service.request("bob", "cc-tiny")
    assert service.wait("bob", theirs) == "FINISHED", "there is nothing to do"
    assert service.ask("bob", "GET", f"/build/{theirs}").json()["filename"] == said["filename"]

    forced = service.request("ada", "cc-tiny", force=True)
    assert service.wait("ada", forced, "BUILDING") == "BUILDING"
    assert service.ask("ada", "DELETE", f"/build/{forced}").json()["done"] == "cancelled"
    assert service.status("ada", forced) == "CANCELLED"
    assert service.wait("ada", forced) == "CANCELLED"
    wait_until_no_run_lives(project)
    service.end()
    project.assert_no_leftovers()
    assert not any(SECRET in line for line in service.process.lines)


def wait_until_no_run_lives(project: Project) -> None:
    deadline = time.monotonic() + 60
    while list(project.store.glob("work/*")):  # nothing has run where the folder is not there
        assert time.monotonic() < deadline
        time.sleep(0.1)


def check_download(service: Service, name: str, version: str) -> None:
    """Download a file in two parts, and compare it with its record."""
    path = service.project.store / "builds/cc-tiny/amd64" / f"{version}.json"
    digest = json.loads(path.read_text())["outputs"]["qcow2"]["digest"]
    whole = service.ask("ada", "HEAD", f"/images/download/{name}")
    size = int(whole.headers["content-length"])
    with httpx.stream("GET", f"{service.address}/images/download/{name}", auth=("ada", PASSWORDS["ada"])) as answer:
        found = b""
        for chunk in answer.iter_bytes(1 << 16):
            found += chunk
            if len(found) >= size // 2:
                break  # the connection is cut
    headers = {"range": f"bytes={len(found)}-", "if-range": whole.headers["etag"]}
    rest = service.ask("ada", "GET", f"/images/download/{name}", headers=headers)
    assert rest.status_code == 206
    assert hashlib.sha256(found + rest.content).hexdigest() == digest == whole.headers["etag"].strip('"')


def check_logs(service: Service, build: str, tasks: list[str]) -> None:
    """Check that nothing of the service's environment is in a log."""
    for task in ("", *tasks):
        said = service.ask("ada", "GET", f"/build/{build}/log", params={"task": task})
        assert said.status_code == 200
        assert SECRET not in said.text, task
        assert not re.search(r"^(declare -x )?PYTHONPATH=", said.text, re.MULTILINE), task


def test_a_run_that_dies_with_the_service_has_failed(project: Project, start: Start) -> None:
    project.environment["DIB_TINY_LINGER"] = "2"
    service = start()
    build = service.request("ada", "cc-tiny")
    assert service.wait("ada", build, "BUILDING") == "BUILDING"
    note = json.loads((project.store / "service" / build / "run.json").read_text())
    service.kill()
    with suppress(ProcessLookupError):
        os.kill(note["pid"], signal.SIGKILL)
    service = start()
    assert service.wait("ada", build) == "FAILED"
    said = service.ask("ada", "GET", f"/build/{build}").json()
    assert said["message"] == "the run was killed; request it again"
    project.environment["DIB_TINY_LINGER"] = "0"
    service.end()


def test_the_command_line_is_carried_out_there(project: Project, start: Start) -> None:
    project.environment["DIB_TINY_LINGER"] = "1"
    service = start()
    token = service.ask("ada", "POST", "/tokens", json={"scopes": ["read", "build"], "days": 1}).json()["token"]
    (project.folder / "token").touch(mode=0o600)
    (project.folder / "token").write_text(token + "\n")
    there = {"CC_IMAGES_SERVER": service.address, "CC_IMAGES_TOKEN_FILE": "token"}

    client = Watched(project.start("-b", "cc-tiny", **there))
    client.wait_for(r"\[build cc-tiny amd64\]")
    service.kill()
    service = start(service.address.removeprefix("http://"))
    assert client.wait(300) == 0, client.lines
    assert [line for line in client.lines if "it is tried again for 30 min" in line]
    build = next(line.split()[0] for line in client.lines if line.endswith(" FINISHED"))
    code, log = project.run("log", build, **there)
    assert code == 0
    shown, whole = (
        [line.rstrip() for line in lines if not line.startswith("cc-images: ")]
        for lines in (client.lines, log.splitlines())
    )
    assert shown[: len(whole)] == whole, "each line came once, across the kill"

    (project.folder / "got").mkdir()
    code, output = project.run("download", build, "-o", "got", **there)
    assert code == 0, output
    (file,) = (project.folder / "got").iterdir()
    record = json.loads(next((project.store / "builds/cc-tiny/amd64").glob("*.json")).read_text())
    assert hashlib.sha256(file.read_bytes()).hexdigest() == record["outputs"]["qcow2"]["digest"]

    client = Watched(project.start("-b", "-f", "--on-interrupt", "cancel", "cc-tiny", **there))
    client.wait_for(r"\[build cc-tiny amd64\]")
    assert client.end(signal.SIGINT) == 130
    assert any(line.endswith(" is cancelled") for line in client.lines)
    wait_until_no_run_lives(project)
    code, output = project.run("--push", "--version", record["version"], "cc-tiny", **there)
    assert code == 2, output
    assert "lacks the scope push" in output
    service.end()
    project.assert_no_leftovers()
    assert not any(token in line for line in (*service.process.lines, *client.lines))


@contextmanager
def database(project: Project) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(project.store / "service.sqlite")
    try:
        yield connection
    finally:
        connection.close()


KILLS = spread(range(30), 4)


def test_a_kill_at_any_moment_loses_nothing_and_builds_nothing_twice(project: Project, start: Start) -> None:
    """Some are killed before they were ready; the moment of each kill is told by its number and CC_IMAGES_TEST_SEED."""
    requested: list[str] = []
    for number in KILLS:
        chance = random.Random(f"{number} {os.environ.get('CC_IMAGES_TEST_SEED', '1')}")
        service = start()
        requested.append(service.request("ada", "cc-tiny" if number % 2 else "cc-tiny-too", force=True))
        time.sleep(chance.choice((0.0, chance.uniform(0, 8))))
        service.kill()
        if number % 3 == 0:
            starting = project.start("serve", "--listen", "127.0.0.1:0", "-t", "1")
            time.sleep(chance.uniform(0, 1.5))
            starting.kill()
            starting.communicate()
    service = start()
    for build in dict.fromkeys(requested):
        assert service.wait("ada", build, seconds=900) == "FINISHED"
    with database(project) as found:
        rows = found.execute(
            "SELECT builds.id, count(*) FROM builds JOIN runs ON runs.build = builds.number"
            " WHERE runs.name != '' GROUP BY 1"
        )
        assert dict(rows) == dict.fromkeys(requested, 1), "each was built once"
        assert found.execute("SELECT count(*) FROM builds WHERE state != 'over'").fetchone() == (0,)
        (count,) = found.execute("SELECT count(*) FROM runs").fetchone()
    print(f"{len(KILLS)} kills, {len({*requested})} builds, {count} launches")
    assert len(list((project.store / "runs").glob("*.json"))) == len({*requested}), "the store knows no other run"
    service.end()


def test_a_stored_version_is_published_by_who_has_it(project: Project, start: Start) -> None:
    push_untested(project)
    service = start()
    build = service.request("ada", "cc-tiny")
    assert service.wait("ada", build) == "FINISHED"
    name = service.ask("ada", "GET", f"/build/{build}").json()["filename"]
    assert not project.site.exists() or not list(project.site.glob("*.qcow2"))
    assert service.ask("bob", "POST", f"/images/{name}/push").status_code == 404
    reader = service.ask("ada", "POST", "/tokens", json={"scopes": ["read", "build"]}).json()["token"]
    path = f"{service.address}/images/{name}/push"
    assert httpx.post(path, headers={"authorization": f"Bearer {reader}"}).status_code == 403
    pushed = service.ask("ada", "POST", f"/images/{name}/push").json()
    assert not pushed["joined"]
    again = service.ask("ada", "POST", f"/images/{name}/push").json()
    assert again == {"id": pushed["id"], "joined": True}
    assert service.wait("ada", pushed["id"]) == "FINISHED", service.ask("ada", "GET", f"/build/{pushed['id']}/log").text
    said = service.ask("ada", "GET", f"/build/{pushed['id']}").json()
    assert project.published() == said["image_id"].partition("@")[2] == name.removeprefix("CC-Tiny-").partition(".")[0]
    assert said["kind"] == "push"
    assert not any(each.startswith("build ") for each in said["tasks"]), "nothing was built for it"
    repeated = service.ask("ada", "POST", f"/images/{name}/push").json()
    assert repeated["id"] != pushed["id"]
    assert service.wait("ada", repeated["id"]) == "FINISHED", "it is there already"
    service.end()


def test_a_stop_cuts_no_run_and_the_next_service_finds_it(project: Project, start: Start) -> None:
    project.environment["DIB_TINY_LINGER"] = "1"
    service = start()
    build = service.request("ada", "cc-tiny")
    assert service.wait("ada", build, "BUILDING") == "BUILDING"
    follower = Follower(service, build)
    assert project.run("serve", "--listen", "127.0.0.1:0")[0] == 2, "one service works on a store"
    assert "service: at work" in project.run("serve", "--check")[1]
    service.end()
    follower.join()
    assert follower.ended == "the service ends; connect again"
    service = start()
    rest = Follower(service, build, follower.offset)
    assert service.wait("ada", build) == "FINISHED"
    rest.join()
    assert follower.text + rest.text == service.ask("ada", "GET", f"/build/{build}/log").text
    service.end()
