"""Machines of a cloud, kept as a head wants them: look at cloud and records, decide, act one step, look again."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.remote.machine_files import MachineFiles
from cc_images.remote.machine_identity import identity
from cc_images.remote.machine_steps import (
    Create,
    Destroy,
    Fail,
    Forget,
    Machine,
    Note,
    Observed,
    Policy,
    Record,
    Step,
    Use,
    Wait,
    Want,
)
from cc_images.remote.machines import decide, unowned

AWAY = 300.0
"""Seconds for which a cloud may not answer, before those who wait get an error."""

_log = logging.getLogger(__name__)


class Source(Protocol):
    """A cloud; see `cloud_machines.CloudMachines`."""

    def every(self) -> list[Machine]:
        """Return all machines that have our tags."""

    def is_gone(self, id: str) -> bool:
        """Say whether there is no such machine any more."""

    def prepare(self) -> None:
        """Look up what machines are made of."""

    def create(self, name: str, *, head: str, run: str, expires: float, user_data: str = "") -> str:
        """Ask for a machine, once; return its id, empty when the answer is lost."""

    def destroy(self, id: str) -> None:
        """Ask for the end of a machine."""


@dataclass(slots=True)
class _Call:
    """A request to the cloud that a step has announced in the records."""

    step: Create | Destroy
    name: str = ""
    user_data: str = field(default="", repr=False)


class MachineLoop:
    """The machines of one entry of builders.yaml, as one process keeps them. Not safe for threads."""

    def __init__(
        self, files: MachineFiles, source: Source, policy: Policy, clock: Callable[[], float] = time.time
    ) -> None:
        self.files = files
        self._source, self._policy, self._clock = source, policy, clock
        self._began = clock()
        self._tried: dict[str, float] = {}
        self._gone: set[str] = set()
        self._failures: dict[str, str] = {}

    # -- one step -----------------------------------------------------------------------------------------------------

    def step(self, me: str = "") -> Step:
        """Look, decide, and act one step; return it. Raises CCImagesError when the cloud does not answer."""
        observed = self._look()
        with self.files.locked():
            observed = self._read(observed, me)
            step = decide(observed)
            call = self._write(step, observed)
        if not isinstance(step, Wait):
            _log.info("machines of %s: %s", self.files.cluster, step)
        if call is not None:
            self._ask(call, observed)
        return step

    def observed(self) -> Observed:
        """Return what there is; ask for nothing. Raises CCImagesError when the cloud does not answer."""
        observed = self._look()
        with self.files.locked():
            return self._read(observed, "")

    def recorded(self) -> Observed:
        """Return the records and wants alone, without a word of the cloud. Raises CCImagesError."""
        head, now = self.files.head(), self._clock()
        observed = Observed(head=head, cluster=self.files.cluster, now=now, policy=self._policy)
        with self.files.locked():
            return self._read(observed, "")

    def unowned(self) -> list[tuple[Machine, str]]:
        """Return the machines that nobody owns, each with the reason; ask for nothing. Raises CCImagesError."""
        return unowned(self.observed())

    def _look(self) -> Observed:
        """Look at the cloud, and ask by id for what the list lacks; what is gone never comes back."""
        machines = tuple(replace(each, tried=self._tried.get(each.id)) for each in self._source.every())
        seen = {each.id for each in machines}
        with self.files.locked():
            known = {each.id for each in self.files.records() if each.id}
        for id in known - seen - self._gone:
            if self._source.is_gone(id):
                self._gone.add(id)
        return Observed(
            head=self.files.head(),
            cluster=self.files.cluster,
            now=self._clock(),
            machines=machines,
            policy=self._policy,
        )

    def _read(self, observed: Observed, me: str) -> Observed:
        """Return what was observed with the records and wants of now."""
        records = tuple(replace(each, gone=each.id in self._gone) for each in self.files.records())
        self._failures |= {each.name: each.doomed for each in records if each.trouble and each.made >= self._began}
        return replace(
            observed, records=records, wants=self.files.wants(), me=me, failures=tuple(self._failures.values())
        )

    def _write(self, step: Step, observed: Observed) -> _Call | None:
        """Write what a step changes in the records; return what the cloud is asked for then."""
        files = self.files
        if isinstance(step, Note):
            files.change(step.name, id=step.id)
        elif isinstance(step, Use):
            files.change(step.name, want=step.want)
            files.serve(step.want, step.name)
        elif isinstance(step, Forget):
            files.forget(step.name)
        elif isinstance(step, Destroy):
            if step.name:
                files.change(step.name, doomed=step.why, trouble=step.trouble)
            return _Call(step)
        elif isinstance(step, Create):
            name = f"{step.node or f'cc-{files.cluster}'}-{secrets.token_hex(6)}"
            public, user_data = identity(name, step.node)
            files.write(Record(name=name, made=observed.now, want=step.node, public_key=public))
            return _Call(step, name, user_data)
        return None

    def _ask(self, call: _Call, observed: Observed) -> None:
        if isinstance(call.step, Destroy):
            self._tried[call.step.id] = self._clock()
            try:
                self._source.destroy(call.step.id)
            except CCImagesError as error:
                _log.warning("machine %s is not destroyed yet: %s", call.step.id, error.message)
            return
        expires = observed.now + self._policy.ttl
        step = call.step
        try:
            id = self._source.create(
                call.name, head=observed.head, run=step.run, expires=expires, user_data=call.user_data
            )
        except CCImagesError as error:
            with self.files.locked():
                self.files.change(call.name, doomed=error.message, trouble=True)
            return
        if id:
            with self.files.locked():
                for record in self.files.records():
                    if record.name == call.name and not record.id:
                        self.files.write(replace(record, id=id))

    # -- many steps ---------------------------------------------------------------------------------------------------

    def run(self, done: Callable[[Step], bool], me: str = "", stop: threading.Event | None = None) -> Step:
        """Step until `done` says so of a step; return that. Raises CCImagesError when the cloud is away for long.

        Raises Interrupted when `stop` is set.
        """
        stop = stop or threading.Event()
        away: float | None = None
        while not stop.is_set():
            pause = 0.0
            try:
                step = self.step(me)
                away = None
                if done(step):
                    return step
                if isinstance(step, Wait):
                    pause = max(0.0, step.until - self._clock())
            except CCImagesError as error:
                away = self._clock() if away is None else away
                if not error.temporary or self._clock() > away + AWAY:
                    raise
                _log.warning("%s", error.message)
                pause = self._policy.look_every
            stop.wait(pause)
        raise Interrupted

    @contextmanager
    def wanted(self, want: Want, stop: threading.Event | None = None) -> Iterator[Machine]:
        """Yield a machine for one job, when there is one; in the end it is destroyed. Raises CCImagesError."""
        self._source.prepare()
        with self.files.locked():
            descriptor = self.files.want(replace(want, since=self._clock()))
        try:
            yield self.served(want.id, stop)
        finally:
            with self.files.locked():
                self.files.end(want.id)
            if descriptor is not None:
                os.close(descriptor)
            self.swept()

    def served(self, want: str, stop: threading.Event | None = None) -> Machine:
        """Return the machine of who waits, when it is there. Raises CCImagesError."""
        while True:
            step = self.run(lambda step: isinstance(step, Fail) or self._record(want) is not None, want, stop)
            if isinstance(step, Fail):
                raise CCImagesError(
                    f"builder {self.files.cluster} got no machine: {step.why}",
                    hint="see the cloud's quota and its log; `cc-images builder-node sweep` clears up",
                    reason=Reason.BUILDER,
                    temporary=True,
                )
            record = self._record(want)
            for machine in self._source.every() if record else ():
                if record and machine.id == record.id:
                    return machine

    def prepare(self) -> None:
        """Look up what machines are made of. Raises UserError for a name that the cloud does not have."""
        self._source.prepare()

    def public_key(self, name: str) -> str:
        """Return the host key by which a machine of this head is known."""
        with self.files.locked():
            return next((each.public_key for each in self.files.records() if each.name == name), "")

    def has(self, want: str) -> bool:
        """Say whether there is a record of a machine for somebody."""
        with self.files.locked():
            return any(each.want == want for each in self.files.records())

    def _record(self, want: str) -> Record | None:
        """Return the record of the machine that somebody has got."""
        with self.files.locked():
            served = {each.served for each in self.files.wants() if each.id == want and each.served}
            return next((each for each in self.files.records() if each.name in served), None)

    def swept(self, limit: float = 60.0) -> list[Step]:
        """Step until nothing is left to do now, or for `limit` seconds; return the steps that were done."""
        until = self._clock() + limit
        done: list[Step] = []
        while self._clock() < until and not isinstance(step := self.step(), Wait):
            done.append(step)
        return done
