"""Hubs for tests: attempts in a store, certificates, links that break, and raw requests."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cc_images.model.attempt import Claim, Ticket
from cc_images.model.catalog import Json
from cc_images.remote.attempt_files import AttemptFiles
from cc_images.store.records import Store

TOKEN = "t" * 43


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob(store: Store, content: bytes) -> str:
    """Put a blob into a store and return its digest."""
    staged = store.root / f"staged-{random.getrandbits(64)}"
    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_bytes(content)
    return store.blobs.add(staged).digest


def attempt(
    store: Store, number: int = 1, *, inputs: tuple[str, ...] = (), trusted: bool = False, secrets: Json | None = None
) -> AttemptFiles:
    """Return a new attempt."""
    files = AttemptFiles(store, f"a{number:032x}")
    claim = Claim(attempt=files.attempt, run="r1", tasks=("build cc-x arm64",), builder="b1", made=1.0, trusted=trusted)
    files.create(claim, token(number), {"format": 1, "jobs": [number]}, inputs, secrets)
    return files


def token(number: int = 1) -> str:
    return f"{TOKEN}{number}"


def ticket(address: str, number: int = 1, ca: str = "") -> Ticket:
    return Ticket(attempt=f"a{number:032x}", token=token(number), address=address, ca=ca)


def asked(address: str, request: bytes, *, shut: bool = False, seconds: float = 10.0) -> bytes:
    """Send bytes to a hub without TLS and return all that it answers until it closes; `shut` half-closes."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as link:
        with suppress(OSError):
            link.sendall(request)
        if shut:
            link.shutdown(socket.SHUT_WR)
        found = b""
        with suppress(OSError):
            while part := link.recv(65536):
                found += part
        return found


def request(
    method: str, path: str, body: bytes = b"", *, number: int = 1, bearer: str = "", headers: Mapping[str, str] = {}
) -> bytes:
    """Return a request with a token; its connection is closed after the answer."""
    said = {
        "Host": "x", "Connection": "close", "Authorization": bearer or f"Bearer a{number:032x}.{token(number)}",
        "Content-Length": str(len(body)), **headers,
    }  # fmt: skip
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def status_of(answer: bytes) -> int:
    """Return the last status of an answer, behind interim ones; 0: the connection was closed without any."""
    while answer.startswith(b"HTTP/1.1 100"):
        answer = answer.partition(b"\r\n\r\n")[2]
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


class Cutting:
    """A link to a hub that breaks: `budget` says after how many bytes each connection does (None: never)."""

    def __init__(self, address: str, budget: Callable[[], int | None]) -> None:
        host, _, port = address.partition("://")[2].partition(":")
        self._behind, self._scheme = (host, int(port)), address.partition("://")[0]
        self._budget = budget
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"{self._scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts, self.up, self.down = 0, 0, 0
        """Connections that were cut, bytes towards the hub, bytes from it."""

    def __enter__(self) -> Cutting:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        left = self._budget()
        lock = threading.Lock()
        try:
            far = socket.create_connection(self._behind)
        except OSError:
            near.close()
            return

        def carry(source: socket.socket, sink: socket.socket, upwards: bool) -> None:
            nonlocal left
            with suppress(OSError):
                while data := source.recv(65536):
                    with lock:
                        if left is not None:
                            data, over = data[:left], len(data) >= left
                            left -= len(data)
                            self.cuts += over
                        self.up, self.down = self.up + len(data) * upwards, self.down + len(data) * (not upwards)
                    sink.sendall(data)
                    if left == 0:
                        break
            for each in (source, sink):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        pumps = [threading.Thread(target=carry, args=args, daemon=True) for args in
                 ((near, far, True), (far, near, False))]  # fmt: skip
        for each in pumps:
            each.start()
        for each in pumps:
            each.join()
        near.close()
        far.close()


class HubProcess:
    """`cc-images store serve` as a process of its own, at a port that stays."""

    def __init__(self, store: Path, *words: str, listen: str = "") -> None:
        self._store, self._words = store, words
        self.listen = listen or f"127.0.0.1:{free_port()}"
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> str:
        environment = os.environ | {
            "CC_IMAGES_STORE": str(self._store), "CC_IMAGES_SETTINGS": "", "PYTHONPATH": os.pathsep.join(sys.path)
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cc_images", "store", "serve", "--listen", self.listen, *self._words],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, cwd=self._store.parent,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.address = line.strip().rpartition(" ")[2]
        return self.address

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """Ask it to end and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def until(true: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait until something is true, and say whether it became so."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return False


@contextmanager
def running(process: HubProcess) -> Iterator[HubProcess]:
    """Have a hub's process run, and killed at the end."""
    process.start()
    try:
        yield process
    finally:
        process.kill()
