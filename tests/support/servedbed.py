"""The service of a bed at work on loopback, over TLS or not, whose runs a thread of the test plays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cc_images.web.client.address import address_of, authorization_of
from cc_images.web.client.attempts import Attempts
from cc_images.web.client.connection import Link
from cc_images.web.client.decisions import Patience
from cc_images.web.client.service import Service
from cc_images.web.server import Listen, serving
from cc_images.web.tokens import Scope
from tests.support.servicebed import ServiceBed

Play = Callable[[str], None]
"""Plays the run of a build."""


@dataclass
class Served:
    """A bed that answers at an address."""

    bed: ServiceBed
    tls: tuple[Path, Path] | None = None
    url: str = ""
    port: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Begin to answer, after an end at the same port as before."""
        listen = Listen(address=f"127.0.0.1:{self.port}", tls=self.tls)
        self.url = self._stack.enter_context(serving(self.bed.app, listen, self.bed.service.draining))
        self.port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        self._stack.close()

    def restart(self) -> None:
        """End, and begin again as another process would."""
        self.stop()
        self.bed = self.bed.again()
        self.start()

    def token_file(self, folder: Path, who: str = "ada", *scopes: Scope) -> Path:
        """Write a new token of an account into a file."""
        account = next(each for each in self.bed.gatekeeper.accounts.everyone() if each.name == who)
        text, _ = self.bed.gatekeeper.tokens.create(account, "", {*scopes} or {*Scope} - {Scope.ACCOUNT}, 1)
        return written(folder / f"token-{who}", text + "\n")

    def made_file(self, content: bytes, run: str) -> str:
        """Let ada have a file in the store; return the id of the build that made it."""
        self.bed.stored(content, run)
        build = self.bed.request("ada", "cc-one")
        self.bed.look()
        self.bed.plan(build, run)
        self.bed.finish(build, run)
        return build

    def launched(self) -> str:
        """Return the id of the next build that begins, once it does."""
        known = len(self.bed.runs.launches)
        deadline = time.monotonic() + 30
        while len(self.bed.runs.launches) == known:
            assert time.monotonic() < deadline, "nothing was requested"
            self.bed.look()
            time.sleep(0.02)
        return self.bed.runs.launches[-1]

    @contextmanager
    def playing(self, play: Play) -> Iterator[None]:
        """Play the run of the next build in a thread."""
        failures: list[BaseException] = []

        def work() -> None:
            try:
                play(self.launched())
            except BaseException as error:  # noqa: BLE001 - raised below
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        yield
        thread.join(30)
        if failures:
            raise failures[0]

    def write(self, build: str, text: str) -> None:
        """Let the log of a build get a text."""
        with (self.bed.of(build) / "log").open("a") as log:
            log.write(text)

    def fail(self, build: str, run: str, code: int = 3) -> None:
        """Let a run end badly."""
        self.bed.runs.note(self.bed.of(build), pid=0, run=run, state="failed", exit_code=code, message="a hook failed")
        self.bed.runs.die(self.bed.of(build))
        self.bed.look()


QUICK = Patience(seconds=30.0, shortest=0.01, longest=0.05)


def linked(
    url: str, token: Path, authorities: Path | None = None, patience: Patience = QUICK
) -> tuple[Service, list[str]]:
    """Return a client of a service that tries again at once, and the list of what it tells."""
    told: list[str] = []
    link = Link(address_of(url), authorization_of(str(token)), str(authorities) if authorities else None)
    return Service(link, Attempts(told.append, patience, patience)), told


def written(path: Path, text: str) -> Path:
    """Write a file that others cannot read."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@dataclass(frozen=True)
class Canned:
    """An answer of a server that is not ours."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def stranger(answer: Callable[[str, str, dict[str, str]], Canned]) -> Iterator[str]:
    """Run a server on loopback that answers whatever a test says, by method, path and headers; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            given = {name.lower(): value for name, value in self.headers.items()}
            said = answer(self.command, self.path, given)
            self.send_response(said.status)
            for name, value in ({"content-length": str(len(said.body))} | said.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said.body)

        do_GET = do_POST = do_DELETE = do_HEAD = _do  # noqa: N815

        def log_message(self, format: str, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
