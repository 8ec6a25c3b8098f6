"""Accounts: names with passwords and roles, and who somebody is."""

from __future__ import annotations

import re
from enum import StrEnum

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from cc_images import clock
from cc_images.errors import UserError
from cc_images.web import audit
from cc_images.web.database import Database
from cc_images.web.passwords import Passwords
from cc_images.web.tables import Account, LogIn
from cc_images.web.throttle import Throttle, network

NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}\Z")


class Role(StrEnum):
    """The role of an account: an administrator sees and ends everything."""

    USER = "user"
    ADMINISTRATOR = "administrator"


class Accounts:
    """The accounts of a database. Failed attempts to log in are counted by name and by address."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        by_name: Throttle | None = None,
        by_address: Throttle | None = None,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._by_name = by_name or Throttle(10, 60.0)
        self._by_address = by_address or Throttle(30, 60.0)

    def add(self, name: str, password: str, role: Role = Role.USER, by: str = "operator") -> Account:
        """Add an account. Raises UserError for a name that is taken or cannot be, and a password that is too short."""
        if not NAME.match(name):
            raise UserError(
                f"{name!r} cannot be the name of an account",
                hint="1 to 32 small letters, digits, dots, dashes and underlines; it begins with a letter",
            )
        hashed = self._passwords.hashed(password)
        with self._database.writing() as session:
            if named(session, name) is not None:
                raise UserError(f"there is an account {name} already")
            made = Account(name=name, password=hashed, role=role, created=clock.now())
            session.add(made)
            audit.note(session, by, "account-add", f"{name} {role}")
            return made

    def change_password(self, name: str, password: str, by: str = "operator") -> None:
        """Give an account a new password, and end its sessions. Raises UserError."""
        hashed = self._passwords.hashed(password)
        with self._database.writing() as session:
            found = _present(session, name)
            found.password = hashed
            session.execute(delete(LogIn).where(LogIn.account_id == found.id))
            audit.note(session, by, "password", name)

    def close(self, name: str, by: str = "operator") -> None:
        """Close an account: nobody can log in as it, its tokens and sessions end. Raises UserError."""
        with self._database.writing() as session:
            found = _present(session, name)
            found.closed = clock.now()
            session.execute(delete(LogIn).where(LogIn.account_id == found.id))
            audit.note(session, by, "account-close", name)

    def everyone(self) -> list[Account]:
        """Return all accounts by name."""
        with self._database.reading() as session:
            return list(session.scalars(select(Account).order_by(Account.name)))

    def by_id(self, number: int) -> Account | None:
        """Return an account that is not closed."""
        with self._database.reading() as session:
            found = session.get(Account, number)
            return found if found is not None and found.closed is None else None

    def log_in(self, name: str, password: str, address: str) -> Account | None:
        """Return the account with this name and password, if there is one that is not closed.

        Text and time of the answer are the same whether there is such a name or not. Raises TooMany.
        """
        with self._database.reading() as session:
            found = named(session, name) if NAME.match(name) else None
        known = found.password if found is not None and found.closed is None else None
        if self._passwords.remembers(known, password):
            return found  # also while somebody else guesses
        self._by_address.take(network(address))
        self._by_name.take(name)
        if self._passwords.fits(known, password):
            self._by_address.forgive(network(address))
            self._by_name.forgive(name)
            return found
        with self._database.writing() as session:
            audit.note(session, name, "log-in-failed", "", address)
        return None


def named(session: Session, name: str) -> Account | None:
    """Return the account of a name, closed or not."""
    return session.scalars(select(Account).where(Account.name == name)).one_or_none()


def _present(session: Session, name: str) -> Account:
    found = named(session, name)
    if found is None or found.closed is not None:
        raise UserError(f"there is no account {audit.plain(name)}", hint="cc-images account list shows all")
    return found
