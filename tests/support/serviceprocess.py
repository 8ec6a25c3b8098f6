"""The service as a process over a project of tiny images, as its clients see it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx

from cc_images.api.run_note import read, ticks
from tests.real.conftest import Project, Watched

ADMINISTRATOR = "root"
PASSWORDS = {"ada": "correct horse battery", "bob": "staple of the horses", ADMINISTRATOR: "the administrator's"}
OVER = ("FINISHED", "FAILED", "CANCELLED")


def accounts(project: Project) -> None:
    for name, password in PASSWORDS.items():
        (project.folder / "password").write_text(password + "\n")
        role = ["--administrator"] if name == ADMINISTRATOR else []
        code, output = project.run("account", "add", name, *role, "--password-file", "password")
        assert code == 0, output


class Service:
    """A service at work, as its clients see it."""

    def __init__(self, project: Project, listen: str = "127.0.0.1:0", *words: str) -> None:
        self.project = project
        self.process = Watched(project.start("serve", "--listen", listen, "-t", "1", *words))
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


def push_untested(project: Project) -> None:
    """Let runs of a project push without a boot test: tiny images have no kernel."""
    settings = project.folder / "settings.yaml"
    settings.write_text("options: {no-boot-test: yes}\n")
    project.environment["CC_IMAGES_SETTINGS"] = str(settings)


@contextmanager
def services(project: Project) -> Iterator[Start]:
    """Yield a function that starts a service over the project; none is left at the end."""
    made: list[Service] = []

    def started(*words: str) -> Service:
        made.append(Service(project, *words))
        return made[-1]

    accounts(project)
    try:
        yield started
    finally:
        for each in made:
            if each.process.process.poll() is None:
                each.kill()
        for path in (project.store / "service").glob("*/run.json"):
            note = read(path)
            if note.pid and ticks(note.pid) == note.ticks:  # after a failure: none outlives the test
                os.kill(note.pid, signal.SIGTERM)


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
