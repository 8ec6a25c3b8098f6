"""The tables of the service's database. `migrations` makes them; all times are in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

WAITING, RUNNING, OVER = "waiting", "running", "over"
"""States of a build."""


class Moment(TypeDecorator[datetime]):
    """A moment in UTC, also in databases that know no time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what is stored."""
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Return what was stored."""
        return value.replace(tzinfo=UTC) if value is not None else None


class Base(DeclarativeBase):
    """What all tables have in common."""


class Account(Base):
    """A person or program with a password. A closed account keeps its name."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password: Mapped[str] = mapped_column(String(256))
    """The hash by argon2."""
    role: Mapped[str] = mapped_column(String(16))
    created: Mapped[datetime] = mapped_column(Moment)
    closed: Mapped[datetime | None] = mapped_column(Moment)
    most_running: Mapped[int | None] = mapped_column(Integer)
    """Builds of the account that run at a time; None: the service's own limit."""
    most_waiting: Mapped[int | None] = mapped_column(Integer)
    most_bytes: Mapped[int | None] = mapped_column(BigInteger)


class Token(Base):
    """A token of an account; the secret itself is nowhere."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    label: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(Moment)
    expires: Mapped[datetime] = mapped_column(Moment)
    revoked: Mapped[datetime | None] = mapped_column(Moment)
    used: Mapped[datetime | None] = mapped_column(Moment)


class Invitation(Base):
    """An invitation to make an account; the secret itself is nowhere."""

    __tablename__ = "invitations"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    label: Mapped[str] = mapped_column(String(100))
    """Whom it is for, in the words of who has made it."""
    digest: Mapped[str] = mapped_column(String(64))
    maker: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(Moment)
    expires: Mapped[datetime] = mapped_column(Moment)
    revoked: Mapped[datetime | None] = mapped_column(Moment)
    used: Mapped[datetime | None] = mapped_column(Moment)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    """The account that was made with it."""


class LogIn(Base):
    """A session of the pages, by the digest of its id."""

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    created: Mapped[datetime] = mapped_column(Moment)
    used: Mapped[datetime] = mapped_column(Moment)


class Build(Base):
    """One thing to do, for all who have requested the same. `number` gives the order of the queue."""

    __tablename__ = "builds"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    value: Mapped[str] = mapped_column(Text)
    """The request as canonical JSON."""
    key: Mapped[str] = mapped_column(String(64))
    """The digest of kind and value: equal for identical requests."""
    state: Mapped[str] = mapped_column(String(16))
    """`waiting`, `running` or `over`."""
    status: Mapped[str] = mapped_column(String(16))
    """How it ended; PENDING before."""
    message: Mapped[str] = mapped_column(Text)
    cancelled: Mapped[bool] = mapped_column()
    created: Mapped[datetime] = mapped_column(Moment)
    ended: Mapped[datetime | None] = mapped_column(Moment)
    removed: Mapped[datetime | None] = mapped_column(Moment)
    """When its folder, with the log, was removed."""

    __table_args__ = (Index("builds_by_state", "state", "number"), Index("builds_by_key", "key"))


class Requester(Base):
    """An account that has requested a build."""

    __tablename__ = "requesters"

    build: Mapped[int] = mapped_column(ForeignKey("builds.number"), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True, index=True)
    requested: Mapped[datetime] = mapped_column(Moment)
    withdrawn: Mapped[datetime | None] = mapped_column(Moment)
    hidden: Mapped[datetime | None] = mapped_column(Moment)
    """When it was removed from the account's list."""


class Attempt(Base):
    """A process that was to do a build. The row is there before the process is."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    build: Mapped[int] = mapped_column(ForeignKey("builds.number"), index=True)
    began: Mapped[datetime] = mapped_column(Moment)
    ended: Mapped[datetime | None] = mapped_column(Moment)
    name: Mapped[str] = mapped_column(String(40))
    """The run's name in the store; empty before it has a plan."""
    planned: Mapped[datetime | None] = mapped_column(Moment)
    expected: Mapped[float | None] = mapped_column(Float)
    """Seconds that it was expected to take from then on; None: it has tasks that never ran before."""
    stopped: Mapped[datetime | None] = mapped_column(Moment)
    """When it was asked to stop."""


class Product(Base):
    """A version of an image that a build has made, or found to be up to date."""

    __tablename__ = "products"

    build: Mapped[int] = mapped_column(ForeignKey("builds.number"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(128), primary_key=True)
    arch: Mapped[str] = mapped_column(String(16), primary_key=True)
    version: Mapped[str] = mapped_column(String(40))
    made: Mapped[bool] = mapped_column(server_default=true())
    """Whether the build has made it; else it has found or pushed it."""


class Audit(Base):
    """Who did what, when, from where."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    time: Mapped[datetime] = mapped_column(Moment, index=True)
    account: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))
    object: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(64))
