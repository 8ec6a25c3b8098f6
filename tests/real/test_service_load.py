"""Many clients of the service at once, beside a build that runs: nothing is lost, and what is the same is one build."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cc_images.web.accounts import Accounts
from cc_images.web.database import Database, default
from cc_images.web.passwords import Cost, Passwords
from tests.conftest import DEEP
from tests.real.conftest import Project
from tests.real.test_service import wait_until_no_run_lives
from tests.support.serviceprocess import Service, services

CLIENTS, EACH = (50, 20) if DEEP else (12, 8)
LINES = 20
"""Lines that a log gets while all follow it."""

PASSWORD = "correct horse battery"
MOST_CPU = 0.004
"""CPU seconds of the service for a status: several times what it takes on cores that nobody else uses."""


@dataclass
class Client:
    """A client with an account and a connection of its own."""

    number: int
    service: Service
    ids: dict[str, str] = field(default_factory=dict)
    """The build that each request has got, by its text."""
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        place = urlsplit(self.service.address)
        self.connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        word = base64.b64encode(f"client{self.number}:{PASSWORD}".encode()).decode()
        self.headers = {"authorization": f"Basic {word}", "content-type": "application/json"}

    def ask(self, method: str, path: str, body: str | None = None) -> dict[str, object]:
        began = time.monotonic()
        self.connection.request(method, path, body, self.headers)
        answer = self.connection.getresponse()
        said = answer.read()
        self.seconds.append(time.monotonic() - began)
        assert answer.status == 200, said
        found: dict[str, object] = json.loads(said)
        return found

    def request_all(self) -> None:
        """Send requests in an order of its own, and some of them again and again."""
        chance = random.Random(self.number)
        for text in chance.choices(REQUESTS, k=EACH):
            build = str(self.ask("POST", "/build/", text)["id"])
            assert self.ids.setdefault(text, build) == build

    def look_at_all(self) -> None:
        """Ask how each build stands, as often as it has sent requests, without a pause."""
        for number in range(EACH):
            build = [*self.ids.values()][number % len(self.ids)]
            assert self.ask("GET", f"/build/{build}")["id"] == build

    def watch_all(self) -> None:
        """Ask as a client does that waits: about once a second."""
        chance = random.Random(self.number)
        for build in [*self.ids.values()][:5]:
            time.sleep(chance.uniform(0, 2))
            self.ask("GET", f"/build/{build}")

    def follow(self, build: str, came: list[float], over: threading.Event) -> None:
        """Follow the log of a build, and note when each line comes that a test has written."""
        place = urlsplit(self.service.address)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        connection.request("GET", f"/build/{build}/log?follow=true", headers=self.headers)
        with connection.getresponse() as answer:
            assert answer.status == 200
            while not over.is_set() and (line := answer.readline()):
                if line.startswith(b"data: marker "):
                    came.append(time.monotonic() - float(line.rpartition(b" ")[2]))
        connection.close()

    def cancel_all(self) -> None:
        for build in self.ids.values():
            assert self.ask("DELETE", f"/build/{build}")["done"] == "cancelled"


REQUESTS = [
    json.dumps({"images": images, "force": True, "push": push})
    for images in (
        ["cc-tiny"],
        ["cc-tiny-too"],
        ["cc-tiny", "cc-tiny-too"],
        ["cc-tiny-child"],
        ["CC-Tiny", "cc-tiny-child"],
    )
    for push in (False, True)
]
FIRST = REQUESTS[0]


def at_once(clients: list[Client], what: Callable[[Client], None]) -> list[float]:
    """Let all clients do something at the same time; return how long each of their requests took, in order."""
    start, failed = threading.Barrier(len(clients)), list[BaseException]()

    def work(client: Client) -> None:
        client.seconds.clear()
        start.wait()
        try:
            what(client)
        except (AssertionError, OSError, http.client.HTTPException) as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    return sorted(each for client in clients for each in client.seconds)


def cpu_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def told(name: str, seconds: list[float], cpu: float) -> float:
    """Print what requests took; return the CPU seconds of one."""
    p50, p95 = (seconds[len(seconds) * each // 100] * 1000 for each in (50, 95))
    print(f"{name}: {len(seconds)} from {CLIENTS} clients, p50 {p50:.0f} ms, p95 {p95:.0f} ms, "
          f"CPU of the service {cpu / len(seconds) * 1000:.2f} ms each")  # fmt: skip
    return cpu / len(seconds)


def followed(clients: list[Client], build: str, log: Path) -> None:
    """Let all clients follow a log at once: each line comes to each of them within a second."""
    pid, over = clients[0].service.process.process.pid, threading.Event()
    came: list[list[float]] = [[] for _ in clients]
    threads = [threading.Thread(target=each.follow, args=(build, mine, over))
               for each, mine in zip(clients, came, strict=True)]  # fmt: skip
    for thread in threads:
        thread.start()
    time.sleep(2)
    before, began = cpu_of(pid), time.monotonic()
    for number in range(LINES):
        with log.open("a") as file:
            file.write(f"marker {number} {time.monotonic()}\n")
        time.sleep(0.3)
    deadline = time.monotonic() + 30
    while any(len(each) < LINES for each in came):
        assert time.monotonic() < deadline, [len(each) for each in came]
        time.sleep(0.1)
    spent = (cpu_of(pid) - before) / (time.monotonic() - began)
    over.set()
    with log.open("a") as file:  # wakes the readers
        file.write("marker over 0\n")
    for thread in threads:
        thread.join()
    late = sorted(seconds for each in came for seconds in each[:LINES])
    p50, p95 = (late[len(late) * each // 100] * 1000 for each in (50, 95))
    print(f"live log: {len(clients)} followers, a line comes after p50 {p50:.0f} ms, p95 {p95:.0f} ms, "
          f"{spent * 100:.0f} % of a core")  # fmt: skip
    assert p95 < 1000


def test_no_request_of_many_clients_is_lost(project: Project) -> None:
    project.environment["DIB_TINY_LINGER"] = "600"
    with services(project) as start:
        database = Database(default(project.store))
        known = Accounts(database, Passwords(Cost(time=1, memory=8, lanes=1)))
        for number in range(CLIENTS):
            known.add(f"client{number}", PASSWORD)
        database.close()
        service = start()
        pid = service.process.process.pid
        clients = [Client(number, service) for number in range(CLIENTS)]
        first = str(clients[0].ask("POST", "/build/", FIRST)["id"])
        while clients[0].ask("GET", f"/build/{first}")["status"] != "BUILDING":
            time.sleep(0.1)

        before = cpu_of(pid)
        seconds = at_once(clients, Client.request_all)
        assert len(seconds) == CLIENTS * EACH
        told("requests", seconds, cpu_of(pid) - before)
        ids: dict[str, set[str]] = {}
        for client in clients:
            for text, build in client.ids.items():
                ids.setdefault(text, set()).add(build)
        assert all(len(each) == 1 for each in ids.values()), "identical ones are one build"
        assert len(set().union(*ids.values())) == len(ids), "others are not"
        assert ids.get(FIRST, {first}) == {first}, "the one that runs was joined"

        before = cpu_of(pid)
        assert told("status", at_once(clients, Client.look_at_all), cpu_of(pid) - before) < MOST_CPU
        before = cpu_of(pid)
        told("status, once a second", at_once(clients, Client.watch_all), cpu_of(pid) - before)
        for client in clients:
            listed = {str(each["id"]) for each in many(client)}
            assert listed >= {*client.ids.values()}, "nothing is lost"

        at_once(clients, lambda client: client.ids.update({FIRST: str(client.ask("POST", "/build/", FIRST)["id"])}))
        followed(clients, first, project.store / "service" / first / "log")

        service.kill()
        service = start()
        for client in clients:
            client.service = service
            client.__post_init__()
        at_once(clients, Client.look_at_all)
        clients[0].ids[FIRST] = first
        at_once(clients, Client.cancel_all)
        wait_until_no_run_lives(project)
        service.end()


def many(client: Client) -> list[dict[str, object]]:
    client.connection.request("GET", "/builds", headers=client.headers)
    found: list[dict[str, object]] = json.loads(client.connection.getresponse().read())
    return found
