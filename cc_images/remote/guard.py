"""The guard: does one attempt on a builder host, and lets nothing of it outlive its lease.

It fetches inputs, starts the work in a process of its own, hands on what that says, and sends results. It alone has
the attempt's token. The head grants leases; a lease begins when it was asked for, so it ends here before the head
believes it over. When a lease runs out the work is killed, whatever the link does. The work ends itself, too, when its
guard is gone, or hangs.
"""

from __future__ import annotations

import json
import logging
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cc_images.errors import CCImagesError
from cc_images.host import root
from cc_images.host.files import clear_errors
from cc_images.model.attempt import Ticket
from cc_images.model.catalog import Json
from cc_images.remote.bundle import Bundle, digests
from cc_images.remote.client import Hub
from cc_images.remote.equality import facts, unequal
from cc_images.remote.inputs import bring
from cc_images.remote.lines import object_of
from cc_images.remote.protocol import HOST_FAULTS, Fenced, now
from cc_images.remote.spool import Spool
from cc_images.store.records import Store
from cc_images.store.workspace import wait_for_guards

TICK = 0.1
"""Seconds between two looks at the work and its lease."""

PATIENCE = 30.0
"""Seconds that work which was asked to stop gets to end by itself."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tenure:
    """The right to work: until `deadline`, in seconds of `now`, unless the head wants an end."""

    hub: Hub
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    deadline: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    fenced: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)
    _wait: float = 1.0

    @property
    def runs(self) -> bool:
        """Whether work may go on."""
        return not self.fenced.is_set() and now() < self.deadline

    def ask(self) -> None:
        """Ask for a lease once. Raises Fenced, and CCImagesError when nobody answers."""
        lease = self.hub.lease(self.nonce)
        self.deadline = lease.asked + lease.seconds
        self._wait = max(0.2, lease.seconds / 6)
        if lease.stop:
            self.stop.set()

    def keep(self) -> None:
        """Ask again and again, until `end`."""
        while not self._over.wait(self._wait):
            try:
                self.ask()
            except Fenced:
                self.fenced.set()
                return
            except CCImagesError as error:
                _log.warning("no lease: %s", error.message)
                self._wait = 1.0

    def end(self) -> None:
        """Ask no more."""
        self._over.set()


@dataclass(slots=True)
class Guard:
    """One attempt in the store of this host."""

    store: Store
    ticket: Ticket
    stop: threading.Event
    """Set when this host wants the attempt to end."""
    hub: Hub = field(init=False)
    tenure: Tenure = field(init=False)
    spool: Spool = field(init=False)

    def __post_init__(self) -> None:
        self.hub = Hub(self.ticket)
        self.tenure = Tenure(self.hub)

    def perform(self) -> str:
        """Do the attempt; return how it ended: done, stopped, unfit, lost or fenced.

        Raises Fenced for a ticket that counts no more, and CCImagesError when the head cannot be reached at all.
        """
        self.tenure.ask()
        logs = self.store.root / "logs" / self.ticket.attempt
        with suppress(OSError):  # a full disk is said by what needs it
            logs.mkdir(parents=True, exist_ok=True)
        self.spool = Spool(logs / "stream", self.hub.stream, lambda: self.tenure.runs)
        keeping = threading.Thread(target=self.tenure.keep, name="lease", daemon=True)
        keeping.start()
        try:
            with self.spool:
                ended = self._done()
        except Fenced:
            return "fenced"
        finally:
            self.tenure.end()
        return ended

    def _done(self) -> str:
        """Do the attempt, and say when nothing of it is left."""
        try:
            bundle = Bundle.from_json(self.hub.bundle())
            if wrong := list(unequal(bundle.facts, facts(bundle))):
                return self._say(unfit=wrong)
            with clear_errors(self.store.root), ExitStack() as held:
                held.enter_context(self.store.lock("gc", shared=True))
                self._fetch(bundle)
                made, code, said = self._worked(bundle, held.close)
            if not self.tenure.runs:
                return "fenced"
            if made is None:
                return self._say(lost=f"its process ended with code {code}{said}")
            for digest in digests(made):
                self.hub.put(self.store.blobs.path(digest), digest)
            return self._say(made=made)
        except Fenced:
            raise
        except CCImagesError as error:
            return self._say(unfit=[error.message]) if error.reason in HOST_FAULTS else self._say(lost=error.message)
        finally:
            self._clear_up()
            self.spool.say({"over": 0})

    def _clear_up(self) -> None:
        """Wait until no sandbox of the work is left, and remove what a killed one and a broken transfer have left."""
        root.remove(self.store.root / "partial" / self.ticket.attempt)
        work = self.store.root / "work" / self.ticket.attempt
        if work.exists():
            wait_for_guards(work)
            self.store.reap(root.remove)

    def _say(self, **said: object) -> str:
        """Hand in the result; return its kind."""
        made = said.get("made") or {}
        assert isinstance(made, dict)
        known = {"format": 1, "attempt": self.ticket.attempt, "tasks": made.get("results", []), "blobs": digests(made)}
        self.hub.put_result(known | said)
        return next(iter(said))

    def _fetch(self, bundle: Bundle) -> None:
        """Bring into the store what it lacks of a bundle's inputs."""
        folder = self.store.root / "partial" / self.ticket.attempt
        for digest in sorted(bundle.inputs):
            if self.store.blobs.is_intact(digest):
                continue
            bring(self.hub, self.store, digest, folder)
        root.remove(folder)

    def _worked(self, bundle: Bundle, ready: Callable[[], None]) -> tuple[Json | None, int, str]:
        """Let a process do the work; return what it has made, its exit code, and the last line of its complaints."""
        vault: Mapping[str, str] = self.hub.secrets() if "secret:" in json.dumps(bundle.as_json()) else {}
        order = {
            "store": str(self.store.root),
            "attempt": self.ticket.attempt,
            "bundle": bundle.as_json(),
            "vault": dict(vault),
            "deadline": self.tenure.deadline,
        }
        log_file = self.spool.path.with_name("work.log")
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "cc_images", "perform", "--work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        hearing = Hearing(process.stdout, self.spool, tuple(vault.values()), ready)
        hearing.start()
        try:
            self._watch(process, process.stdin, order)
        finally:
            process.kill()
            process.wait()
            hearing.join()
        return hearing.made, process.returncode, hearing.masked(_last_line(log_file))

    def _watch(self, process: subprocess.Popen[bytes], order: IO[bytes], first: Json) -> None:
        """Tell the work its order and its deadlines, until it has ended, or must."""
        told, asked = 0.0, 0.0
        try:
            order.write(json.dumps(first).encode() + b"\n")
            order.flush()
            while process.poll() is None and self.tenure.runs:
                if self.tenure.deadline != told:
                    told = self.tenure.deadline
                    order.write(b"%f\n" % told)
                    order.flush()
                if (self.stop.is_set() or self.tenure.stop.is_set()) and not asked:
                    asked = time.monotonic()
                    process.terminate()
                if asked and time.monotonic() - asked > PATIENCE:
                    return
                time.sleep(TICK)
        except BrokenPipeError:
            process.wait(PATIENCE)


class Hearing(threading.Thread):
    """Hands on what the work says, without secrets, and keeps what it has made."""

    def __init__(self, said: IO[bytes], spool: Spool, hidden: tuple[str, ...], ready: Callable[[], None]) -> None:
        super().__init__(name="hearing", daemon=True)
        self.made: Json | None = None
        self._said, self._spool, self._ready = said, spool, ready
        self._hidden = [each for value in hidden for each in (value, *value.splitlines()) if len(each) >= LEAST_SECRET]

    def run(self) -> None:
        """Read until the work is over."""
        for line in self._said:
            plain = object_of(line)
            if "made" in plain:
                self.made = plain["made"] | {"results": self._masked(plain["made"]["results"])}
            elif "ready" in plain:
                self._ready()
            elif plain:
                self._spool.say(self._masked(plain))

    def masked(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text

    def _masked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._masked(name): self._masked(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._masked(each) for each in value]
        return self.masked(value) if isinstance(value, str) else value


def _last_line(file: Path) -> str:
    """Return the last line of what a process has complained of, after a colon; empty when there is none."""
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - TAIL))
        lines = log.read().decode(errors="replace").split("\n")
    return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")


TAIL = 4096
"""Bytes at the end of a file in which its last line is looked for."""

LEAST_SECRET = 4
"""Characters of a value that is hidden in logs; shorter ones stand in everything."""
