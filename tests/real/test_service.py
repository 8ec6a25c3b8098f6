"""The service as a process: builds of two accounts, logs as they grow, downloads, and what a SIGKILL leaves."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests.real.conftest import Project, Watched

PASSWORDS = {"ada": "correct horse battery", "bob": "staple of the horses"}
OVER = ("FINISHED", "FAILED", "CANCELLED")
SECRET = "geheim-0815-geheim"


def accounts(project: Project) -> None:
    for name, password in PASSWORDS.items():
        (project.folder / "password").write_text(password + "\n")
        code, output = project.run("account", "add", name, "--password-file", "password")
        assert code == 0, output


class Service:
    """A service at work, as its clients see it."""

    def __init__(self, project: Project, listen: str = "127.0.0.1:0") -> None:
        self.project = project
        self.process = Watched(project.start("serve", "--listen", listen, "-t", "1"))
        self.process.wait_for("^the service is at ")
        line = next(each for each in self.process.lines if each.startswith("the service is at "))
        self.address = line.split()[-1]

    def ask(self, who: str, method: str, path: str, **what: object) -> httpx.Response:
        return httpx.request(method, self.address + path, auth=(who, PASSWORDS[who]), timeout=60, **what)  # type: ignore[arg-type]

    def request(self, who: str, *images: str, **more: bool) -> str:
        answer = self.ask(who, "POST", "/build/", json={"images": images, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def status(self, who: str, build: str) -> str:
        return str(self.ask(who, "GET", f"/build/{build}").json()["status"])

    def wait(self, who: str, build: str, *wanted: str, seconds: float = 300) -> str:
        deadline = time.monotonic() + seconds
        while (found := self.status(who, build)) not in (*wanted, *OVER):
            assert time.monotonic() < deadline, f"{found}: " + "\n".join(self.process.lines[-20:])
            time.sleep(0.1)
        return found

    def kill(self) -> None:
        self.process.end(signal.SIGKILL)

    def end(self) -> None:
        assert self.process.end(signal.SIGTERM) == 0


Start = Callable[..., Service]


@pytest.fixture
def start(project: Project) -> Iterator[Start]:
    """Return a function that starts a service over the project; none is left at the end."""
    made: list[Service] = []

    def started(*listen: str) -> Service:
        made.append(Service(project, *listen))
        return made[-1]

    accounts(project)
    yield started
    for each in made:
        if each.process.process.poll() is None:
            each.kill()


class Follower:
    """Follows a log in a thread: its text, and the offset behind what came."""

    def __init__(self, service: Service, build: str, offset: int = 0) -> None:
        self.text, self.offset, self.ended = "", offset, ""
        self._thread = threading.Thread(target=self._follow, args=(service, build))
        self._thread.start()

    def _follow(self, service: Service, build: str) -> None:
        headers = {"accept": "text/event-stream", "last-event-id": str(self.offset)}
        path, auth = f"{service.address}/build/{build}/log", ("ada", PASSWORDS["ada"])
        with suppress(httpx.HTTPError), httpx.stream("GET", path, auth=auth, headers=headers, timeout=60) as answer:
            kind, number, lines = "", 0, list[str]()
            for line in answer.iter_lines():
                name, _, said = line.partition(": ")
                kind = said if name == "event" else kind
                number = int(said) if name == "id" else number
                lines += [said] if name == "data" else [""] if line == "data:" else []
                if line:
                    continue
                if kind == "end":
                    self.ended = lines[0]
                elif lines:
                    self.text, self.offset = self.text + "\n".join(lines) + "\n", number
                kind, lines = "", []

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


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
    service.kill()
    follower.join()
    assert "[build cc-tiny amd64]" in follower.text
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
    while list((project.store / "work").iterdir()):
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


@pytest.mark.deep
def test_a_kill_at_any_moment_loses_nothing_and_builds_nothing_twice(project: Project, start: Start) -> None:
    chance = random.Random(23)
    requested: list[str] = []
    for number in range(30):
        service = start()
        requested.append(service.request("ada", "cc-tiny" if number % 2 else "cc-tiny-too", force=True))
        time.sleep(chance.uniform(0, 8))
        service.kill()
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
    service.end()
