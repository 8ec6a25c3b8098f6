"""The database of the service: where it is, its migrations, and its transactions.

SQLite in the store, unless an address names another one. One transaction writes at a time: what it has read stays true
until it is over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.orm import Session

from cc_images.errors import UserError
from cc_images.web.claim import Claim

NEWEST = "0002"
"""The revision that this version of cc-images works with."""

BUSY = 15.0
"""Seconds for which a transaction waits for another one."""

SQLITE: Mapping[str, Any] = {"connect_args": {"timeout": BUSY}}

ELSEWHERE: Mapping[str, Any] = {"pool_pre_ping": True, "isolation_level": "READ COMMITTED"}
"""What has waited for the lock must see what was written until then, whatever a server's own default is."""

LOCK = 4711_0023
"""The number of PostgreSQL's advisory lock for transactions that write."""


class Database:
    """A database, by its address; see `default`."""

    def __init__(self, address: str) -> None:
        self._file = Path(make_url(address).database or "") if address.startswith("sqlite") else None
        self._engine = _engine(address)
        self._writer = self._engine.execution_options(writes=True)
        alone = {} if self._file is not None else {"isolation_level": "AUTOCOMMIT"}
        self._asker = self._engine.execution_options(asks=True, **alone)
        self._kept: list[Connection] = []
        """Connections of `asking` that wait for the next question."""
        memory = self._file is None or str(self._file) in ("", ".", ":memory:")
        self._claim = Claim(self._engine, None if memory else self._file)

    def migrate(self) -> None:
        """Make the tables, or bring those of an older version up to date.

        Raises UserError when the database does not answer, or is of a newer version.
        """
        if self._file is not None:
            _make_private(self._file)
        try:
            with self._writer.begin() as connection:
                found = _revision(connection)
                if found != NEWEST:
                    _upgrade(connection, found)
        except DatabaseError as error:
            raise _useless(error) from None

    def revision(self) -> str:
        """Return the revision of the tables; empty without any. Nothing is made or changed. Raises UserError."""
        if self._file is not None and not self._file.exists():
            return ""
        try:
            with self._engine.connect() as connection:
                return _revision(connection)
        except DatabaseError as error:
            raise _useless(error) from None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that changes nothing."""
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def asking(self) -> Iterator[Session]:
        """Open a session for single questions: what one answers is true at that moment, and need not be at the next.

        No transaction is around them, and the connection is kept and not tried before: that would take longer.
        """
        try:
            connection = self._kept.pop()
        except IndexError:
            connection = self._asker.connect()
        try:
            with Session(connection, expire_on_commit=False) as session:
                yield session
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        self._kept.append(connection)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session that is committed at the end, and alone in writing meanwhile."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Have the database for one service alone. Raises UserError, also when it does not answer."""
        with ExitStack() as held:
            try:
                held.enter_context(self._claim.held())
            except DatabaseError as error:
                raise _useless(error) from None
            yield

    def is_claimed(self) -> bool:
        """Say whether a service works with the database; nothing is made or changed. Raises UserError."""
        try:
            return self._claim.is_taken()
        except DatabaseError as error:
            raise _useless(error) from None

    def assure(self) -> None:
        """Look whether the database is still claimed as it was. Raises UserError, SQLAlchemyError."""
        self._claim.assure()

    def close(self) -> None:
        """Close all connections."""
        while self._kept:
            self._kept.pop().close()
        self._engine.dispose()


def default(store: Path) -> str:
    """Return the address of the database in a store."""
    return f"sqlite:///{store / 'service.sqlite'}"


def holds_password(address: str) -> bool:
    """Say whether an address has a password in it."""
    try:
        return bool(make_url(address).password)
    except ArgumentError:
        return "@" in address


def _engine(address: str) -> Engine:
    try:
        sqlite = make_url(address).get_backend_name() == "sqlite"
        engine = create_engine(address, **(SQLITE if sqlite else ELSEWHERE))
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        reason = f"there is no module {error.name}" if isinstance(error, ModuleNotFoundError) else "it is no address"
        raise UserError(
            f"the database's address cannot be used: {reason}",
            hint="sqlite:////FILE, or postgresql+psycopg://USER@HOST/NAME with psycopg installed",
        ) from None
    if sqlite:
        event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin_sqlite if sqlite else _begin)
    return engine


def _make_private(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        file.chmod(0o600)
    except OSError as error:
        raise UserError(f"the database {file} cannot be written: {error.strerror}") from None


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins transactions, not Python
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("asks"):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("writes") and connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def _upgrade(connection: Connection, found: str) -> None:
    """Run what is missing; Alembic is loaded for this alone."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise unknown(found) from None


def unknown(revision: str) -> UserError:
    """Return what is said of tables of a newer version."""
    return UserError(
        f"the database has revision {revision}, which this version of cc-images does not know",
        hint="it was used by a newer cc-images: install that",
    )


def _useless(error: DatabaseError) -> UserError:
    """Return what a driver says, without the statement and the address."""
    said = (str(error.orig).strip().splitlines() or ["no reason was given"])[0]
    return UserError(
        f"the database cannot be used: {said}",
        hint="look whether its server runs, and whether address, user and password are right",
    )
