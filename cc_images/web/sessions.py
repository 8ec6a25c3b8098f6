"""Sessions of the pages: a random id in a cookie, kept as a digest, and a CSRF token for each."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, or_

from cc_images import clock
from cc_images.errors import UserError
from cc_images.web import audit
from cc_images.web.database import Database
from cc_images.web.tables import Account, LogIn

COOKIE = "cc_images_session"

IDLE, LONGEST = timedelta(hours=12), timedelta(days=7)
"""A session ends when it was not used for so long, and in any case after that long."""

NOTED = timedelta(minutes=1)


class Sessions:
    """The sessions of a database. Each log-in makes a new id, so nobody can fix one beforehand."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, account: Account, address: str = "") -> str:
        """Return the id of a new session: the value of the cookie. A log-in from an address is noted for the audit.

        Raises UserError when the account has another password by now, or is closed: who knew the old one is too late.
        """
        number, now = secrets.token_urlsafe(32), clock.now()
        with self._database.writing() as session:
            present = session.get_one(Account, account.id)
            if present.password != account.password or present.closed is not None:
                raise UserError("the account has changed meanwhile; log in again")
            session.execute(delete(LogIn).where(ended(now)))
            session.add(LogIn(digest=_digest(number), account_id=account.id, created=now, used=now))
            if address:
                audit.note(session, account.name, "log-in", "", address)
        return number

    def owner(self, number: str) -> Account | None:
        """Return whose session it is; None for one that is over."""
        now = clock.now()
        with self._database.reading() as session:
            found = session.get(LogIn, _digest(number))
            if found is None or found.used < now - IDLE or found.created < now - LONGEST:
                return None
            account = session.get(Account, found.account_id)
        if now - found.used > NOTED:
            with self._database.writing() as session:
                if (row := session.get(LogIn, found.digest)) is not None:
                    row.used = now
        return account if account is not None and account.closed is None else None

    def close(self, number: str) -> None:
        """End a session."""
        with self._database.writing() as session:
            session.execute(delete(LogIn).where(LogIn.digest == _digest(number)))


def ended(now: datetime) -> ColumnElement[bool]:
    """Return the condition for sessions that are over."""
    return or_(LogIn.used < now - IDLE, LogIn.created < now - LONGEST)


def csrf_token(number: str) -> str:
    """Return the token that each form of a session has: only who has the cookie can compute it."""
    return hashlib.sha256(b"csrf\0" + number.encode()).hexdigest()


def is_csrf_token(number: str, said: str) -> bool:
    """Say whether a form was made for this session."""
    return hmac.compare_digest(csrf_token(number).encode(), said.encode())


def cookie_options(*, secure: bool) -> dict[str, object]:
    """Return how the cookie is set; `secure` behind TLS."""
    return {"httponly": True, "samesite": "lax", "secure": secure, "path": "/", "max_age": int(LONGEST.total_seconds())}


def _digest(number: str) -> str:
    return hashlib.sha256(number.encode()).hexdigest()
