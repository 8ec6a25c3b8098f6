"""Accounts: names with passwords and roles, and who somebody is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from cc_images import clock
from cc_images.errors import UserError
from cc_images.web import audit
from cc_images.web.database import Database
from cc_images.web.passwords import Passwords, Unfit
from cc_images.web.tables import WAITING, Account, Build, LogIn, Requester, Token
from cc_images.web.throttle import Throttle, network

NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}\Z")

LONGEST = 64
"""Characters of a name that are counted by: what somebody types may be as long as a request."""

_NAMED = select(Account).where(Account.name == bindparam("name"))
"""Made once: clients with passwords ask so with every request."""

OPERATOR = "operator"
"""Who has done what was done on the command line, in the audit log."""

KEPT_BACK = (OPERATOR, "service")
"""Names that no account gets: the audit log has them already."""

LIMITS = {"running": "most_running", "waiting": "most_waiting", "bytes": "most_bytes"}
"""Limits of an account by name, with their columns."""


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

    def add(
        self,
        name: str,
        password: str,
        role: Role = Role.USER,
        by: str = OPERATOR,
        *,
        address: str = "",
        then: Callable[[Session, Account], None] | None = None,
    ) -> Account:
        """Add an account. Raises Unfit for a name that is taken or cannot be, and a password that is too short.

        `then` belongs to the same transaction: what it raises leaves no account.
        """
        if not NAME.match(name):
            raise Unfit(
                "name",
                f"{name!r} cannot be the name of an account",
                hint="1 to 32 small letters, digits, dots, dashes and underlines; it begins with a letter",
            )
        hashed = self._passwords.hashed(password)
        with self._database.writing() as session:
            if name in KEPT_BACK or named(session, name) is not None:
                raise Unfit("name", f"there is an account {name} already")
            made = Account(name=name, password=hashed, role=role, created=clock.now())
            session.add(made)
            session.flush()
            audit.note(session, by, "account-add", f"{name} {role}", address)
            if then is not None:
                then(session, made)
            return made

    def change_password(self, name: str, password: str, by: str = OPERATOR, address: str = "") -> None:
        """Give an account a new password, and end all its sessions. Raises UserError."""
        hashed = self._passwords.hashed(password)
        with self._database.writing() as session:
            found = _present(session, name)
            found.password = hashed
            session.execute(delete(LogIn).where(LogIn.account_id == found.id))
            audit.note(session, by, "password", name, address)

    def close(self, name: str, by: str = OPERATOR, address: str = "") -> None:
        """Close an account: nobody can log in as it, its tokens and sessions end, its waiting builds are withdrawn.

        Raises UserError, also for the last administrator, whom the operator alone can close.
        """
        with self._database.writing() as session:
            found = _present(session, name)
            _keep_an_administrator(session, found, by)
            now = found.closed = clock.now()
            session.execute(delete(LogIn).where(LogIn.account_id == found.id))
            session.execute(
                update(Token).where(Token.account_id == found.id, Token.revoked.is_(None)).values(revoked=now)
            )
            _withdraw(session, found)
            audit.note(session, by, "account-close", name, address)

    def give_role(self, name: str, role: Role, by: str = OPERATOR, address: str = "") -> None:
        """Give an account another role, at once. Raises UserError, as `close` does."""
        with self._database.writing() as session:
            found = _present(session, name)
            if role != Role.ADMINISTRATOR:
                _keep_an_administrator(session, found, by)
            found.role = role
            audit.note(session, by, "account-role", f"{name} {role}", address)

    def limit(self, name: str, changes: Mapping[str, int | None], by: str = OPERATOR, address: str = "") -> Account:
        """Change limits of an account, by their names in LIMITS; None: that of the service. Raises UserError."""
        with self._database.writing() as session:
            found = _present(session, name)
            for each, most in changes.items():
                setattr(found, LIMITS[each], most)
            said = " ".join(f"{each}={'default' if most is None else most}" for each, most in changes.items())
            audit.note(session, by, "account-limit", f"{name} {said}", address)
            return found

    def everyone(self) -> list[Account]:
        """Return all accounts by name."""
        with self._database.reading() as session:
            return list(session.scalars(select(Account).order_by(Account.name)))

    def by_name(self, name: str) -> Account | None:
        """Return an account, closed or not."""
        with self._database.reading() as session:
            return named(session, name) if NAME.match(name) else None

    def by_id(self, number: int) -> Account | None:
        """Return an account that is not closed."""
        with self._database.reading() as session:
            found = session.get(Account, number)
            return found if found is not None and found.closed is None else None

    def remembers(self, account: Account | None, password: str) -> bool:
        """Say whether a password was right for an account a moment ago, and the account still has it and is open."""
        return self._passwords.remembers(_hash_of(account), password)

    def log_in(self, name: str, password: str, address: str) -> Account | None:
        """Return the account with this name and password, if there is one that is not closed.

        Text and time of the answer are the same whether there is such a name or not. Raises TooMany.
        """
        with self._database.reading() as session:
            found = named(session, name) if NAME.match(name) else None
        known = _hash_of(found)
        if self.remembers(found, password):
            return found  # also while somebody else guesses

        def forgiven() -> None:
            self._by_address.forgive(network(address))
            self._by_name.forgive(name[:LONGEST])

        def counted() -> Callable[[], None]:
            self._by_address.take(network(address))
            self._by_name.take(name[:LONGEST])
            return forgiven

        if self._passwords.fits(known, password, counted):  # one at a time: many right ones at once are no guesses
            return found
        with self._database.writing() as session:
            audit.note(session, name, "log-in-failed", "", address)
        return None


def _hash_of(found: Account | None) -> str | None:
    return found.password if found is not None and found.closed is None else None


def named(session: Session, name: str) -> Account | None:
    """Return the account of a name, closed or not."""
    return session.scalars(_NAMED, {"name": name}).one_or_none()


def _present(session: Session, name: str) -> Account:
    found = named(session, name)
    if found is None or found.closed is not None:
        raise UserError(f"there is no account {audit.plain(name)}", hint="cc-images account list shows all")
    return found


def _keep_an_administrator(session: Session, leaving: Account, by: str) -> None:
    """Refuse to leave a service without an administrator, unless its operator wants that."""
    others = select(func.count()).select_from(Account).where(Account.closed.is_(None), Account.id != leaving.id)
    others = others.where(Account.role == Role.ADMINISTRATOR)
    if leaving.role == Role.ADMINISTRATOR and by != OPERATOR and not session.scalar(others):
        raise Unfit("name", f"{leaving.name} is the last administrator")


def _withdraw(session: Session, account: Account) -> None:
    """Withdraw an account's builds that wait; those that others want stay."""
    waiting = select(Build).join(Requester, Requester.build == Build.number)
    waiting = waiting.where(Build.state == WAITING, Requester.account_id == account.id)
    for build in session.scalars(waiting.where(Requester.withdrawn.is_(None))).all():
        session.get_one(Requester, (build.number, account.id)).withdrawn = clock.now()
        left = select(func.count()).select_from(Requester)
        left = left.where(Requester.build == build.number, Requester.withdrawn.is_(None))
        build.cancelled = session.scalar(left) == 0
