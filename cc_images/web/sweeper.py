"""The sweeper: removes what is old, every hour, in a thread of its own.

That is the folders of builds that have been over for long, and rows that serve nobody. The rows of builds stay.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import SQLAlchemyError

from cc_images import clock
from cc_images.api import launch
from cc_images.errors import CCImagesError
from cc_images.web.database import Database
from cc_images.web.sessions import ended
from cc_images.web.tables import OVER, Audit, Build, Invitation, LogIn, Token

_log = logging.getLogger(__name__)

EVERY = 3600.0
"""Seconds between two sweeps."""

SHOWN = timedelta(days=30)
"""Time for which a token or invitation that has ended is still listed, so that its owner sees why."""

AUDITED = timedelta(days=366)
"""Time for which rows of the audit log are kept."""


class Sweeper:
    """Sweeps a database and the folders of builds, which are below `folder`; `days`: for which these are kept."""

    def __init__(self, database: Database, folder: Path, days: int) -> None:
        self._database = database
        self._folder = folder
        self._days = timedelta(days=days)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, after the folder at hand."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                self.sweep()
            except SQLAlchemyError as error:
                _log.error("old builds are not removed: %s", error)
            self._over.wait(EVERY)

    def sweep(self) -> int:
        """Remove what is old; return of how many builds the folders were removed."""
        self._sweep_rows()
        with self._database.reading() as session:
            chosen = select(Build.number, Build.id).where(Build.state == OVER, Build.removed.is_(None))
            old = session.execute(chosen.where(Build.ended < clock.now() - self._days).order_by(Build.number)).all()
        count = 0
        for number, id in old:
            if self._over.is_set():
                break
            if self._removed(id):
                with self._database.writing() as session:
                    session.get_one(Build, number).removed = clock.now()
                count += 1
        if count:
            _log.info("the logs of %d old builds are removed", count)
        return count

    def _removed(self, id: str) -> bool:
        try:
            return launch.remove(self._folder / id)
        except (CCImagesError, OSError) as error:  # the others are removed nevertheless
            _log.error("the folder of build %s is not removed: %s", id, error)
            return False

    def _sweep_rows(self) -> None:
        now = clock.now()
        with self._database.writing() as session:
            session.execute(delete(LogIn).where(ended(now)))
            session.execute(delete(Token).where(or_(Token.expires < now - SHOWN, Token.revoked < now - SHOWN)))
            past = (Invitation.expires, Invitation.revoked, Invitation.used)
            session.execute(delete(Invitation).where(or_(*(each < now - SHOWN for each in past))))
            session.execute(delete(Audit).where(Audit.time < now - AUDITED))
