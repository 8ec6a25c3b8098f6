"""Measure the service as a process: downloads against plain servers, status requests, memory, and its start.

All servers of downloads take turns in one run, and begin in another order each round; the client is curl, which throws
away what it gets, and all files lie in memory (/dev/shm). `sendfile` is the smallest server that there can be: a head,
and os.sendfile on a connection that blocks; nginx takes part where it is installed; `http.server` is Python's own. Wall
seconds depend on who else uses the cores; CPU seconds of server and client do not: their ratio is that of the rates
when the cores are busy.

Memory is the largest resident size of the service (VmHWM), and how much of it came with downloads, one of them of a
file of 5 GiB that has holes. Needs `curl` and 3 GiB of memory; an argument makes the files N times smaller, and
`status` as an argument measures status requests alone.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from cc_images.model.catalog import Format
from cc_images.store.records import Store
from cc_images.web import log
from cc_images.web.server import Listen, serving
from cc_images.web.value import Value
from tests.conftest import REPOSITORY, clean_environment, write_files
from tests.support.servicebed import ServiceBed, kept

SIZE, HUGE = 1 << 30, 5 << 30
ROUNDS = 4
STATUS = 2000
"""Status requests of each measure."""

WANTED = {"images": ["cc-one"], "architectures": [], "push": False, "force": False}

CLIENTS, EACH = 50, 8
"""Clients that ask for a status at once, and builds of each."""

IMAGES = """\
CC-One: {elements: [debian-minimal], disk: []}
"""

PASSWORD = "correct horse battery"
VERSIONS = ("20261122T030000Z", "20261123T030000Z")


@dataclass(slots=True)
class Cost:
    """What one side has cost over all rounds, in seconds."""

    walls: list[float] = field(default_factory=list)
    server: float = 0.0
    client: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server at work, and the address of the file there."""

    process: subprocess.Popen[str]
    address: str
    words: tuple[str, ...] = ()

    @property
    def cpu(self) -> float:
        """CPU seconds that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak(self) -> float:
        """Its largest resident size in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def plain(path: str) -> None:
    """Serve a file with as little as that takes: each connection gets a head and os.sendfile."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    size = os.stat(path).st_size
    while True:
        connection, _ = listener.accept()
        with connection, Path(path).open("rb") as file:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
            at = 0
            while at < size:
                at += os.sendfile(connection.fileno(), file.fileno(), at, size - at)


@contextmanager
def process(*words: str, folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program of Python, and end it."""
    with subprocess.Popen([sys.executable, *words], cwd=folder, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as made:  # fmt: skip
        try:
            yield made
        finally:
            made.terminate()


def first_line(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().strip()


@contextmanager
def service(folder: Path, environment: dict[str, str]) -> Iterator[tuple[Server, float, float]]:
    """Run the service; yield it with CPU and wall seconds until it was ready."""
    began = time.monotonic()
    with process("-m", "cc_images", "serve", "--listen", "127.0.0.1:0", folder=folder, environment=environment) as made:
        address = first_line(made).split()[-1]
        wall = time.monotonic() - began
        found = Server(process=made, address=address, words=("--config", "-"))
        yield found, found.cpu, wall


NGINX = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log /dev/null;
events {{}}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def nginx(folder: Path, path: Path) -> Iterator[dict[str, Server]]:
    """Run nginx as one process that serves a file; yield nothing where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        print("download nginx              it is not installed")
        yield {}
        return
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "conf").write_text(NGINX.format(folder=folder, port=port, root=path.parent))
    words = [program, "-p", str(folder), "-c", str(folder / "conf")]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, text=True) as made:
        time.sleep(1)
        assert made.poll() is None
        try:
            yield {"nginx": Server(process=made, address=f"http://127.0.0.1:{port}/{path.name}")}
        finally:
            made.terminate()


def download(server: Server, address: str, *words: str) -> tuple[float, float, float]:
    """Have curl download a file; return wall seconds, and CPU seconds of server and client."""
    cpu, before, began = server.cpu, resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        ["curl", "--silent", "--fail", "--output", "/dev/null", *server.words, *words, address],
        input=f'user = "root:{PASSWORD}"\n' if server.words else "", text=True, check=True,
    )  # fmt: skip
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, server.cpu - cpu, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rates(servers: dict[str, Server]) -> dict[str, Cost]:
    """Let all servers take turns."""
    costs = {name: Cost() for name in servers}
    for number in range(ROUNDS + 1):
        order = [*servers][number % len(servers) :] + [*servers][: number % len(servers)]
        for name in order:
            wall, server, client = download(servers[name], servers[name].address)
            if number:  # the first round warms up
                costs[name].walls.append(wall)
                costs[name].server += server / ROUNDS
                costs[name].client += client / ROUNDS
    return costs


def show(costs: dict[str, Cost], size: int) -> None:
    """Print what each server has cost, and the ratios of rates."""
    ours, each = costs["cc-images"], size / (1 << 30)
    for name, cost in costs.items():
        wall = statistics.median(cost.walls)
        ratio, cpu = wall / statistics.median(ours.walls), (cost.server + cost.client) / (ours.server + ours.client)
        print(f"download {name:18} {each / wall:5.2f} GiB/s, CPU s per GiB: server {cost.server / each:.3f}, "
              f"client {cost.client / each:.3f}; rate of cc-images over its: {ratio:.2f} by wall, {cpu:.2f} by CPU"
              + ("   (goal >= 0.8)" if name in ("sendfile", "nginx") else ""))  # fmt: skip


def played() -> None:
    """Serve a service whose runs are played: each account has the build that runs, and some that wait."""
    log.listen(logging.StreamHandler(io.StringIO()))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        bed = ServiceBed(Path(name))
        builds: dict[str, list[str]] = {}
        for number in range(CLIENTS):
            account = bed.gatekeeper.accounts.add(f"client{number}", PASSWORD)
            numbers = [(number + 1) * each for each in range(EACH)]
            wanted = [Value(kind="images", content=WANTED | {"number": each}) for each in numbers]
            builds[account.name] = [bed.service.queue.submit(account, each)[0] for each in wanted]
        bed.look()
        running = builds["client0"][0]
        bed.plan(running, VERSIONS[0], {"event": "started", "task": "build cc-one amd64"})
        bed.look()
        with serving(bed.app, Listen(address="127.0.0.1:0"), bed.service.draining) as address:
            print(json.dumps({"address": address, "builds": builds}), flush=True)
            sys.stdin.read()
        bed.close()


def status(server: Server, builds: dict[str, list[str]], clients: int, query: str = "") -> float:
    """Print how many status requests there are in a second; return the CPU milliseconds of one."""
    times: list[float] = []
    place = urlsplit(server.address)
    together = threading.Barrier(clients)

    def ask(name: str, mine: list[str]) -> None:
        word = base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()
        with closing(HTTPConnection(place.hostname or "", place.port, timeout=60)) as client:  # it takes little itself
            together.wait()
            for number in range(STATUS // clients):
                began = time.monotonic()
                path = f"/build/{mine[number % len(mine)]}{query}"
                client.request("GET", path, headers={"authorization": f"Basic {word}"})
                with client.getresponse() as answer:
                    assert answer.status == 200
                    answer.read()
                times.append(time.monotonic() - began)

    cpu, began = server.cpu, time.monotonic()
    threads = [threading.Thread(target=ask, args=each) for each in [*builds.items()][:clients]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, spent = time.monotonic() - began, server.cpu - cpu
    times.sort()
    p50, p95 = (times[len(times) * each // 100] * 1000 for each in (50, 95))
    rate, each = len(times) / wall, spent / len(times) * 1000
    name = "ordinary route" if query else "quick route"
    goal = "   (goal p95 < 50 ms)" if clients == CLIENTS and not query else ""
    print(f"status, {clients:2} at once, {name:15} {rate:5.0f} a second, CPU {each:.2f} ms each, "
          f"p50 {p50:.1f} ms, p95 {p95:.1f} ms{goal}")  # fmt: skip
    return each


def statuses(environment: dict[str, str]) -> None:
    """Let clients ask without a pause how builds stand, by both routes in turns."""
    words = [sys.executable, "-m", "bench.service", "played"]
    with subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as made:  # fmt: skip
        assert made.stdin is not None
        said = json.loads(first_line(made))
        server = Server(process=made, address=said["address"])
        status(server, said["builds"], CLIENTS, "?warm=up")  # each password is hashed once
        for clients in (1, 10, CLIENTS):
            quick = other = 0.0
            for _ in range(2):
                quick += status(server, said["builds"], clients)
                other += status(server, said["builds"], clients, "?by=routes")
            print(f"status, {clients:2} at once, CPU of the ordinary route over the quick one: {other / quick:.2f}")
        made.stdin.close()


def main(smaller: int = 1) -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, ExitStack() as held:
        folder = Path(name)
        environment = clean_environment(folder) | {"PYTHONPATH": str(REPOSITORY)}
        write_files(folder, images=IMAGES, sites="")
        store = Store(folder / "store")
        store.root.mkdir()
        for version, size in zip(VERSIONS, (SIZE // smaller, HUGE // smaller), strict=True):
            with (store.root / "staged").open("wb") as file:
                for _ in range(size >> 20 if size == SIZE // smaller else 0):
                    file.write(os.urandom(1 << 20))
                file.truncate(size)
            kept(store, {Format.QCOW2: store.root / "staged"}, version)
        (folder / "password").write_text(PASSWORD + "\n")
        with service(folder, environment) as (_, cpu, wall):
            print(f"start, a new database      {cpu:.2f} CPU s, {wall:.2f} s")
        words = ["account", "add", "root", "--administrator", "--password-file", "password"]
        subprocess.run([sys.executable, "-m", "cc_images", *words], cwd=folder, env=environment, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        ours, cpu, wall = held.enter_context(service(folder, environment))
        print(f"start                      {cpu:.2f} CPU s, {wall:.2f} s   (goal < 3 s)")

        files = {row["version"]: row for row in ask(ours, "GET", "/images").json()}
        path = store.blobs.path(files[VERSIONS[0]]["sha256"])
        words = ["-m", "bench.service", "plain", str(path)]
        minimal = held.enter_context(process(*words, folder=REPOSITORY, environment=environment))
        words = ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
        python = held.enter_context(process(*words, folder=path.parent, environment=environment))
        port = first_line(python).split("port ")[1].split()[0]
        first = ours.peak
        servers = {
            "cc-images": Server(process=ours.process, words=ours.words,
                                address=f"{ours.address}/images/download/{files[VERSIONS[0]]['file']}"),
            "sendfile": Server(process=minimal, address=f"http://127.0.0.1:{first_line(minimal)}/"),
            "http.server": Server(process=python, address=f"http://127.0.0.1:{port}/{path.name}"),
        } | held.enter_context(nginx(folder / "nginx", path))  # fmt: skip
        show(rates(servers), SIZE // smaller)
        before = ours.peak
        wall, cpu, _ = download(ours, f"{ours.address}/images/download/{files[VERSIONS[1]]['file']}")
        small, huge = SIZE // smaller >> 20, HUGE // smaller >> 20
        print(f"memory                     {first:.1f} MiB before, {before:.1f} after downloads of {small} MiB, "
              f"{ours.peak:.1f} after one of {huge} MiB in {wall:.1f} s")  # fmt: skip
        statuses(environment)


def ask(server: Server, method: str, path: str, **what: object) -> httpx.Response:
    answer = httpx.request(method, server.address + path, auth=("root", PASSWORD), timeout=60, **what)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer


if __name__ == "__main__":
    if sys.argv[1:2] == ["plain"]:
        plain(sys.argv[2])
    elif sys.argv[1:2] == ["played"]:
        played()
    elif sys.argv[1:2] == ["status"]:
        statuses(clean_environment(Path(tempfile.gettempdir())) | {"PYTHONPATH": str(REPOSITORY)})
    else:
        main(*map(int, sys.argv[1:]))
