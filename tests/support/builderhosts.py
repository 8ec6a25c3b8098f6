"""Builder hosts for tests, in threads of this process: honest ones, and scripts for others."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from cc_images.errors import CCImagesError
from cc_images.model.attempt import BuilderHost, JobState, Ticket
from cc_images.model.catalog import Arch, Json
from cc_images.remote.bundle import Bundle, digests
from cc_images.remote.client import Hub
from cc_images.remote.fleet import Fleet
from cc_images.remote.launchers.base import Launcher
from cc_images.remote.placement import Host
from cc_images.remote.work import Work
from cc_images.store.records import Store


class Job:
    """One execution of an attempt: what a guard does, step by step. `said` counts the bytes of its stream."""

    def __init__(self, ticket: Ticket, store: Store) -> None:
        self.ticket, self.store = ticket, store
        self.hub = Hub(ticket)
        self.said = 0

    def begin(self) -> Bundle:
        """Ask for the lease and the bundle, and bring its inputs."""
        self.hub.lease(secrets.token_hex(16))
        bundle = Bundle.from_json(self.hub.bundle())
        for digest in sorted(bundle.inputs):
            if not self.store.blobs.is_intact(digest):
                staged = self.store.root / "partial" / digest
                staged.parent.mkdir(parents=True, exist_ok=True)
                self.hub.fetch(digest, staged)
                self.store.blobs.add(staged)
        return bundle

    def say(self, line: Json) -> None:
        """Add a line to the stream."""
        self.say_bytes(json.dumps(line).encode())

    def say_bytes(self, line: bytes) -> None:
        """Add a line that need not be one."""
        self.said = self.hub.stream(self.said, line + b"\n")

    def work(self, bundle: Bundle) -> Json:
        """Do the tasks; return what was made."""
        work = Work(
            store=self.store, attempt=self.ticket.attempt, bundle=bundle, vault={}, say=self.say, stop=threading.Event()
        )
        return work.do()

    def bring(self, made: Json) -> None:
        """Send files and result."""
        for digest in digests(made):
            self.hub.put(self.store.blobs.path(digest), digest)
        self.hub.put_result(self.result(made=made))

    def result(self, **said: object) -> Json:
        """Return a result."""
        made = said.get("made") or {}
        assert isinstance(made, dict)
        known = {"format": 1, "attempt": self.ticket.attempt, "tasks": made.get("results", []), "blobs": digests(made)}
        return known | said

    def over(self) -> None:
        """Say that nothing is left."""
        self.say({"over": 0})


def honest(job: Job) -> None:
    """Do everything as it should be."""
    job.bring(job.work(job.begin()))
    job.over()


class InProcess:
    """A launcher whose jobs are threads; `script` is what they do. `fails` raises after a job was started."""

    def __init__(self, folder: Path, hub: str, script: Callable[[Job], None] = honest, fails: bool = False) -> None:
        self.store = Store(folder)
        self.tickets: list[Ticket] = []
        self.cancelled: list[str] = []
        self.errors: list[Exception] = []
        self.broken: list[CCImagesError] = []
        """The errors of the next tries to open it."""
        self.troubles: list[str] = []
        """The next answers to whether it can be reached."""
        self._hub, self._script, self._fails = hub, script, fails
        self._threads: dict[str, threading.Thread] = {}

    def facts(self) -> Json | None:
        return None

    def open(self) -> str:
        if self.broken:
            raise self.broken.pop(0)
        return self._hub

    def close(self) -> None:
        for each in self._threads.values():
            each.join(20)

    def start(self, ticket: Ticket) -> None:
        self.tickets.append(ticket)
        self._threads[ticket.attempt] = threading.Thread(target=self._run, args=(ticket,), daemon=True)
        self._threads[ticket.attempt].start()
        if self._fails:
            raise CCImagesError("the answer was lost")

    def trouble(self) -> str:
        return self.troubles.pop(0) if self.troubles else ""

    def look(self, attempts: Collection[str]) -> Mapping[str, JobState]:
        known = {name: JobState.RUNNING if each.is_alive() else JobState.ENDED for name, each in self._threads.items()}
        return {each: known.get(each, JobState.UNKNOWN) for each in attempts}

    def destroyed(self, attempt: str) -> bool:
        return False

    def cancel(self, attempt: str) -> None:
        self.cancelled.append(attempt)

    def _run(self, ticket: Ticket) -> None:
        try:
            self._script(Job(ticket, self.store))
        except Exception as error:  # noqa: BLE001 - a script may end as it likes
            self.errors.append(error)


def fleet(launchers: Mapping[str, InProcess], **more: object) -> Fleet:
    """Return a fleet of hosts for amd64, by their names."""
    entry = BuilderHost(name="", ssh="nobody@nowhere")
    hosts = [Host(entry=replace(entry, name=name, **more), arch=Arch.AMD64) for name in launchers]  # type: ignore[arg-type]

    def launcher(entry: BuilderHost) -> Launcher:
        return launchers[entry.name]

    return Fleet(hosts, {}, launcher)
