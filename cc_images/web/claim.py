"""The claim of a service on its database: one has it at a time, and loses it when it ends, however that comes.

For SQLite it is the lock of a file beside the database, for PostgreSQL an advisory lock of a connection. Other
databases know none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from cc_images.api.launch import held, only
from cc_images.errors import UserError

LOCK = 4711_0024
"""The number of PostgreSQL's advisory lock."""

PATIENCE = 2.0
"""Seconds for which a start waits: it takes a moment until one that was killed has lost its claim."""

AGAIN = 0.2

KEEPALIVE = ("tcp_keepalives_idle = 20", "tcp_keepalives_interval = 10", "tcp_keepalives_count = 3")
"""Settings by which a server of PostgreSQL sees that a host is gone: after a minute, and not after hours."""


class Claim:
    """A claim on the database of an engine, whose file is `file`, if it is one."""

    def __init__(self, engine: Engine, file: Path | None) -> None:
        self._engine = engine
        self._lock = _beside(file) if file is not None else None
        self._held: Connection | None = None
        self._wanted = False
        self._one = threading.Lock()

    @contextmanager
    def held(self, patience: float = PATIENCE) -> Iterator[None]:
        """Have the database alone. Raises UserError when another service has it, after so many seconds."""
        self._wanted = self._engine.dialect.name == "postgresql"
        deadline = time.monotonic() + patience
        with ExitStack() as stack:
            stack.callback(self._end)
            while not self._entered(stack):
                if time.monotonic() > deadline:
                    raise _taken()
                time.sleep(AGAIN)
            yield

    def _entered(self, stack: ExitStack) -> bool:
        if self._lock is None:
            return self._take()
        try:
            stack.enter_context(only(self._lock, _taken()))
        except UserError:
            return False
        return True

    def _end(self) -> None:
        self._wanted = False
        self._give_up()

    def assure(self) -> None:
        """Have it again when the server of the database has ended a connection meanwhile.

        Raises UserError when another service has got it since, and SQLAlchemyError when the server does not answer.
        """
        with self._one:
            if self._held is None:
                if not self._take():
                    raise _taken()
                return
            try:
                self._held.exec_driver_sql("SELECT 1")
            except SQLAlchemyError:
                self._give_up()
                raise

    def is_taken(self) -> bool:
        """Say whether a service has it. Nothing is made."""
        if self._lock is not None:
            return held(self._lock)
        try:
            with self.held(patience=0):
                return False
        except UserError:
            return True

    def _take(self) -> bool:
        if not self._wanted:
            return True
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # it goes back to no pool: its end is that of the lock
        for setting in KEEPALIVE:
            connection.exec_driver_sql(f"SET {setting}")
        if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({LOCK})").scalar():
            connection.close()
            return False
        self._held = connection
        return True

    def _give_up(self) -> None:
        if self._held is not None:
            with suppress(SQLAlchemyError):
                self._held.close()
        self._held = None


def _beside(file: Path) -> Path:
    """Return the lock of a database. The database itself is not locked: SQLite loses its own locks by that."""
    whole = file.resolve()
    return whole.with_name(f"{whole.name}.lock")


def _taken() -> UserError:
    return UserError(
        "another service works with this database", hint="end it first, or give this one another: --database URL"
    )
