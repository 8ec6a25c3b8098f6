"""Invitations: with one, somebody makes an account, once. Each is shown once, and kept as a digest."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from cc_images import clock
from cc_images.web import audit
from cc_images.web.database import Database
from cc_images.web.tables import Account, Invitation

DAYS, LONGEST = 7, 90
"""Days for which an invitation is valid, if nothing else is said, and at most."""

_ID = re.compile(r"[0-9a-f]{12}\Z")
_FORM = re.compile(r"invite_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")


class Invitations:
    """The invitations of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, label: str, days: int = DAYS, by: str = "operator", address: str = "") -> tuple[str, Invitation]:
        """Return a new invitation's text, which is nowhere else, and its row."""
        assert 1 <= days <= LONGEST
        secret, now = secrets.token_urlsafe(32), clock.now()
        with self._database.writing() as session:
            made = Invitation(id=secrets.token_hex(6), label=audit.plain(label)[:100], digest=_digest(secret), maker=by,
                              created=now, expires=now + timedelta(days=days))  # fmt: skip
            session.add(made)
            audit.note(session, by, "invitation-create", f"{made.id} {made.label}", address)
        return f"invite_{made.id}_{secret}", made

    def everything(self) -> list[Invitation]:
        """Return all that can be used, and those that ended a short time ago; the newest first."""
        with self._database.reading() as session:
            return list(session.scalars(select(Invitation).order_by(Invitation.created.desc(), Invitation.id)))

    def can_be_used(self, text: str) -> bool:
        """Say whether a text is that of an invitation that can still be used."""
        with self._database.reading() as session:
            return _found(session, text) is not None

    def revoke(self, number: str, by: str = "operator", address: str = "") -> bool:
        """Revoke an invitation; False if there is none that could be used."""
        with self._database.writing() as session:
            found = session.get(Invitation, number) if _ID.match(number) else None
            if found is None or not is_open(found):
                return False
            found.revoked = clock.now()
            audit.note(session, by, "invitation-revoke", number, address)
            return True


def redeem(session: Session, text: str, account: Account) -> bool:
    """Use an invitation for an account; False for one that cannot be used. It serves nobody else."""
    found = _found(session, text)
    if found is None:
        return False
    found.used, found.account_id = clock.now(), account.id
    audit.note(session, account.name, "invitation-use", found.id)
    return True


def is_open(invitation: Invitation) -> bool:
    """Say whether an invitation can still be used."""
    return invitation.revoked is None and invitation.used is None and invitation.expires > clock.now()


def _found(session: Session, text: str) -> Invitation | None:
    """Return the invitation of a text; None for one that is unknown, used, revoked or expired."""
    form = _FORM.match(text.strip())
    found = session.get(Invitation, form[1]) if form is not None else None
    if form is None or found is None or not hmac.compare_digest(found.digest, _digest(form[2])):
        return None
    return found if is_open(found) else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
