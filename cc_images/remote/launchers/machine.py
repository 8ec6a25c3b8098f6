"""Builder hosts that a cloud makes: a machine for each job, reached by ssh, and destroyed after it.

A job waits in a thread of its own until its machine is there; until then it counts as waiting in a queue. The machine
is destroyed whatever becomes of the job: when it ends, when it is cancelled, and when this process is no more, by the
next one of this head, or by anybody when its time is over.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cc_images.errors import CCImagesError, Interrupted
from cc_images.model.attempt import BuilderHost, JobState, Ticket
from cc_images.model.catalog import Json
from cc_images.remote.launchers.base import Launcher
from cc_images.remote.machine_identity import known_host
from cc_images.remote.machine_loop import MachineLoop
from cc_images.remote.machine_steps import Machine, Want

READY_WITHIN = 300.0
"""Seconds from the moment at which the cloud calls a machine active until ssh answers there."""

LOOK_EVERY = 5.0
ENDING = 120.0
"""Seconds for the end of machines, when a run ends."""

_log = logging.getLogger(__name__)

Reach = Callable[[BuilderHost, tuple[str, ...]], Launcher]
"""Returns the launcher for one machine, from its entry and the options of ssh."""


@dataclass(slots=True)
class _Job:
    """The job of one attempt, and the thread that has its machine."""

    ticket: Ticket
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the machine is needed no more."""
    launcher: Launcher | None = None
    """The way to the machine, since the job was started there."""
    ended: bool = False
    """Whether its thread is at its end."""
    gone: bool = False
    """Whether the cloud says that its machine is gone, or it never had one."""
    thread: threading.Thread | None = None


class MachineLauncher:
    """Jobs on machines of one cloud; see `launchers.base.Launcher`."""

    def __init__(
        self, host: BuilderHost, loop: Callable[[], MachineLoop], reach: Reach, look_every: float = LOOK_EVERY
    ) -> None:
        """Take an entry, what makes the loop of one thread, and what reaches a machine by ssh; `look_every` in s."""
        assert host.provider is not None
        self._look_every = look_every
        self._host, self._user, self._loop, self._reach = host, host.provider.user, loop, reach
        self._jobs: dict[str, _Job] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def facts(self) -> Json | None:
        return None

    def open(self) -> str:
        """Look up what machines are made of; each job has an address of its own."""
        self._loop().prepare()
        self._folder = tempfile.TemporaryDirectory(prefix="cc-images-hosts-")
        return self._host.hub

    def close(self) -> None:
        """End all jobs, and destroy their machines."""
        for job in self._jobs.values():
            job.over.set()
        until = time.monotonic() + ENDING
        for job in self._jobs.values():
            if job.thread is not None:
                job.thread.join(max(0.0, until - time.monotonic()))
        if self._folder is not None:
            self._folder.cleanup()

    def start(self, ticket: Ticket) -> None:
        job = self._jobs.get(ticket.attempt)
        if job is not None:  # its thread is at it
            return
        job = self._jobs[ticket.attempt] = _Job(ticket)
        job.thread = threading.Thread(target=self._serve, args=(job,), name=f"machine of {ticket.attempt}", daemon=True)
        job.thread.start()

    def look(self, attempts: Collection[str]) -> Mapping[str, JobState]:
        return {each: self._state(each) for each in attempts}

    def cancel(self, attempt: str) -> None:
        """End a job by the end of its machine."""
        if (job := self._jobs.get(attempt)) is not None:
            job.over.set()

    def trouble(self) -> str:
        return ""

    def destroyed(self, attempt: str) -> bool:
        """Say whether the cloud has destroyed the machine of a job, or never made it for this one."""
        job = self._jobs.get(attempt)
        return job is not None and job.gone

    def _state(self, attempt: str) -> JobState:
        job = self._jobs.get(attempt)
        if job is None:
            return JobState.UNKNOWN
        if job.ended:
            return JobState.ENDED
        if job.launcher is None:
            return JobState.WAITING
        state = job.launcher.look([attempt])[attempt]
        if state is JobState.ENDED:
            job.over.set()
        return state

    def _serve(self, job: _Job) -> None:
        """Have a machine for a job, from its wish to its end."""
        loop = self._loop()
        try:
            with loop.wanted(Want(id=job.ticket.attempt), job.over) as machine:
                launcher = self._reached(machine, loop.public_key(machine.name), job.over)
                try:
                    launcher.start(replace(job.ticket, address=launcher.open()))
                    job.launcher = launcher
                    while not job.over.wait(self._look_every) and loop.has(job.ticket.attempt):
                        self._kept(loop)
                finally:
                    launcher.close()
            loop.run(lambda step: not loop.has(job.ticket.attempt))
            job.gone = True
        except Interrupted:
            pass
        except CCImagesError as error:
            _log.warning("%s: %s", self._host.name, error.message)
        finally:
            job.gone = job.gone or (job.launcher is None and not loop.has(job.ticket.attempt))
            job.ended = True

    def _kept(self, loop: MachineLoop) -> None:
        """Act one step with all machines; a cloud that does not answer is no reason to end a job."""
        try:
            loop.step()
        except CCImagesError as error:
            _log.info("%s", error.message)

    def _reached(self, machine: Machine, public: str, stop: threading.Event) -> Launcher:
        """Return the way to a machine when ssh answers there. Raises CCImagesError, and Interrupted."""
        assert self._folder is not None
        options = known_host(machine.name, public, Path(self._folder.name)) if public else ()
        launcher = self._reach(replace(self._host, ssh=f"{self._user}@{machine.address}"), options)
        until = time.monotonic() + READY_WITHIN
        while True:
            try:
                launcher.facts()
                return launcher
            except CCImagesError:
                if time.monotonic() > until:
                    raise
            if stop.wait(self._look_every):
                raise Interrupted
