"""The supervisor: observes the builds that are not over, decides, and acts, twice a second, in one thread.

A run is a process of its own that outlives the service; see `api.launch`. A service that starts finds it again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.orm import Session

from cc_images import clock
from cc_images.api import launch, run_files
from cc_images.api.launch import Launcher
from cc_images.errors import CCImagesError
from cc_images.model.plain_text import printable
from cc_images.model.service_terms import Limits
from cc_images.web import commands
from cc_images.web.database import Database
from cc_images.web.decisions import Close, Launch, Observed, Room, Status, Step, Stop, decide
from cc_images.web.tables import OVER, RUNNING, WAITING, Account, Attempt, Build, Product, Requester
from cc_images.web.value import Value

_log = logging.getLogger(__name__)

EVERY = 0.5
"""Seconds between two looks."""

FAULTS = (DataError, LookupError, TypeError, ValueError)
"""Errors that nobody expects: with one build, they are no reason to leave the others."""

ENDS = ("ok", "failed", "interrupted", "left")
"""States of a run that it has itself noted at its end."""


class Supervisor:
    """Works on the queue of a database; the folders of builds are below `folder`."""

    def __init__(self, database: Database, store: Path, launcher: Launcher, folder: Path, limits: Limits) -> None:
        self._database = database
        self._store = store
        self._launcher = launcher
        self._folder = folder
        self._limits = limits
        self._over = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._work, name="supervisor", daemon=True)
        self.looked = time.monotonic()
        """When it has last looked."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once: something was requested or cancelled."""
        self._woken.set()

    def close(self) -> None:
        """End. Runs go on."""
        self._over.set()
        self._woken.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.is_set():
            self._woken.clear()
            try:
                self.look()
            except (SQLAlchemyError, CCImagesError, OSError) as error:
                _log.error("the queue stands still: %s", error)
            except FAULTS:  # the thread goes on
                _log.exception("the queue stands still")
            self._woken.wait(EVERY)

    def look(self) -> None:
        """Observe, decide and act once."""
        self._launcher.reap()
        self._database.assure()
        with self._database.reading() as session:
            builds = list(session.scalars(select(Build).where(Build.state != OVER).order_by(Build.number)))
            seen = [self._observed(session, build) for build in builds]
            exceptions = self._exceptions(session)
        room = Room(places=self._limits.places, of_account=self._limits.running, exceptions=exceptions)
        by_number = {build.number: build for build in builds}
        for step in decide(seen, room):
            try:
                self._act(step, by_number[step.number])
            except (CCImagesError, OSError) as error:  # the others go on
                _log.error("build %s: %s", by_number[step.number].id, error)
            except FAULTS:
                _log.exception("build %s", by_number[step.number].id)
        self.looked = time.monotonic()

    def _observed(self, session: Session, build: Build) -> Observed:
        wanted = select(Requester.account_id).where(Requester.build == build.number, Requester.withdrawn.is_(None))
        accounts = tuple(session.scalars(wanted))
        if build.state != RUNNING:
            return Observed(number=build.number, accounts=accounts, cancelled=build.cancelled)
        attempts = _attempts(session, build.number)
        seen = launch.observe(self._folder / build.id)
        self._note_plan(attempts[-1], seen.note.run, seen.note.remaining)
        ended, message = seen.note.state, seen.note.message
        if not ended and seen.note.run and not seen.alive:
            told = run_files.outcome(self._store, seen.note.run)
            ended, message = told.get("state", ""), told.get("error", "")
        if ended == "ok" and seen.note.exit_code:
            ended = "failed"
        if not seen.alive and not seen.note.run and not ended:
            message = "".join(launch.last_lines(self._folder / build.id))
        stopped = attempts[-1].stopped
        return Observed(
            number=build.number, accounts=accounts, running=True, cancelled=build.cancelled, alive=seen.alive,
            planned=bool(seen.note.run), ended=ended if ended in ENDS else "", launches=len(attempts),
            message=printable(message, "\n\t"),  # half characters are in no database, and no answer
            stopping=(clock.now() - stopped).total_seconds() if stopped is not None else None,
        )  # fmt: skip

    def _note_plan(self, attempt: Attempt, run: str, remaining: float | None) -> None:
        if run and not attempt.name:
            with self._database.writing() as session:
                row = session.get_one(Attempt, attempt.id)
                row.name, row.planned, row.expected = run, clock.now(), remaining

    def _exceptions(self, session: Session) -> dict[int, int]:
        rows = session.scalars(select(Account).where(Account.most_running.is_not(None)))
        return {each.id: each.most_running for each in rows if each.most_running is not None}

    def _act(self, step: Step, build: Build) -> None:
        match step:
            case Launch():
                self._launch(build)
            case Stop():
                if launch.stop(self._folder / build.id):
                    _log.info("build %s is asked to stop", build.id)
                    with self._database.writing() as session:
                        _attempts(session, build.number)[-1].stopped = clock.now()
            case Close(status=status, message=message):
                self._close(build, status, message)

    def _launch(self, build: Build) -> None:
        """Note that the build runs, then launch its process: in this order, so that no process is unknown."""
        with self._database.writing() as session:
            row = session.get_one(Build, build.number)
            if row.cancelled:
                return
            row.state = RUNNING
            session.add(Attempt(build=build.number, began=clock.now(), name=""))
        value, folder = Value(kind=build.kind, content=json.loads(build.value)), self._folder / build.id
        words = commands.words(value, folder)
        if self._launcher.launch(folder, words, commands.files(value)):
            _log.info("build %s begins: cc-images %s", build.id, " ".join(words))

    def _close(self, build: Build, status: Status, message: str) -> None:
        with self._database.writing() as session:
            row = session.get_one(Build, build.number)
            row.state, row.status, row.message, row.ended = OVER, status, message[:2000], clock.now()
            attempts = _attempts(session, build.number)
            if attempts:
                attempts[-1].ended = clock.now()
            if attempts and attempts[-1].name:
                told = run_files.outcome(self._store, attempts[-1].name)
                made = run_files.made(told)
                for tag, arch, version in run_files.versions(told):
                    row_made = (tag, arch, version) in made
                    session.merge(Product(build=build.number, tag=tag, arch=arch, version=version, made=row_made))
        _log.info("build %s is over: %s %s", build.id, status, message)


def _attempts(session: Session, number: int) -> Sequence[Attempt]:
    return session.scalars(select(Attempt).where(Attempt.build == number).order_by(Attempt.id)).all()


def waiting_since(session: Session) -> float:
    """Return for how many seconds the oldest build that waits has done so."""
    oldest = session.scalar(select(func.min(Build.created)).where(Build.state == WAITING))
    return (clock.now() - oldest).total_seconds() if oldest is not None else 0.0
