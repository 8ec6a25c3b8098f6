"""Tokens: what programs log in with instead of a password. Each is shown once, and kept as a digest."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import bindparam, select

from cc_images import clock
from cc_images.errors import UserError
from cc_images.web import audit
from cc_images.web.database import Database
from cc_images.web.tables import Account, Token

LONGEST = 366
"""Days for which a token may be valid."""

MOST = 50
"""Tokens of one account that are valid at a time."""

NOTED = timedelta(minutes=1)
"""Time within which a second use of a token is not noted."""

_OWNED = select(Token, Account).join(Account, Account.id == Token.account_id).where(Token.id == bindparam("id"))
"""Made once: programs ask so with every request."""

_ID = re.compile(r"[0-9a-f]{12}\Z")
_FORM = re.compile(r"cci_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")


class Scope(StrEnum):
    """What a caller may do; a password may do everything."""

    READ = "read"
    BUILD = "build"
    PUSH = "push"
    ACCOUNT = "account"
    """Change the password, and make tokens: no token may do that."""


OF_TOKENS = frozenset({Scope.READ, Scope.BUILD, Scope.PUSH})


class Tokens:
    """The tokens of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, account: Account, label: str, scopes: Collection[Scope], days: int, address: str = ""
    ) -> tuple[str, Token]:
        """Return a new token's text, which is nowhere else, and its row. Raises UserError."""
        if not 1 <= days <= LONGEST:
            raise UserError(f"a token is valid for 1 to {LONGEST} days")
        if not scopes or not {*scopes} <= OF_TOKENS:
            raise UserError(f"scopes of a token are {', '.join(sorted(OF_TOKENS))}")
        secret = secrets.token_urlsafe(32)
        with self._database.writing() as session:
            valid = select(Token).where(Token.account_id == account.id, Token.revoked.is_(None))
            if sum(each.expires > clock.now() for each in session.scalars(valid)) >= MOST:
                raise UserError(f"an account has at most {MOST} tokens", hint="revoke some")
            made = Token(
                id=secrets.token_hex(6),
                account_id=account.id,
                label=audit.plain(label)[:100],
                digest=_digest(secret),
                scopes=" ".join(sorted(scopes)),
                created=clock.now(),
                expires=clock.now() + timedelta(days=days),
            )
            session.add(made)
            audit.note(session, account.name, "token-create", f"{made.id} {made.scopes}", address)
        return f"cci_{made.id}_{secret}", made

    def owner(self, text: str) -> tuple[Account, frozenset[Scope]] | None:
        """Return whose token it is and what that may do; None for one that is unknown, expired or revoked."""
        said = parts(text)
        if said is None:
            return None
        with self._database.reading() as session:
            row = session.execute(_OWNED, {"id": said[0]}).one_or_none()
        if row is None or row[1].closed is not None or not opens(row[0], said[1]):
            return None
        found, account = row
        if not is_noted(found):
            self._note_use(found.id)
        return account, scopes(found)

    def _note_use(self, number: str) -> None:
        with self._database.writing() as session:
            if (found := session.get(Token, number)) is not None:
                found.used = clock.now()

    def of(self, account: Account) -> list[Token]:
        """Return the tokens of an account that are not revoked, the newest first."""
        chosen = select(Token).where(Token.account_id == account.id, Token.revoked.is_(None))
        with self._database.reading() as session:
            return list(session.scalars(chosen.order_by(Token.created.desc(), Token.id)))

    def revoke(self, account: Account, number: str, address: str = "") -> bool:
        """Revoke a token of an account; False if it has no such token."""
        with self._database.writing() as session:
            found = session.get(Token, number) if _ID.match(number) else None
            if found is None or found.account_id != account.id or found.revoked is not None:
                return False
            found.revoked = clock.now()
            audit.note(session, account.name, "token-revoke", number, address)
            return True


def parts(text: str) -> tuple[str, str] | None:
    """Return the id and the secret of a token's text; None for what is no token."""
    form = _FORM.match(text)
    return (form[1], form[2]) if form is not None else None


def opens(token: Token, secret: str) -> bool:
    """Say whether a secret is that of a token, which is neither expired nor revoked."""
    right = hmac.compare_digest(token.digest, _digest(secret))
    return right and token.revoked is None and token.expires > clock.now()


def is_noted(token: Token) -> bool:
    """Say whether a use of a token was noted a moment ago."""
    return token.used is not None and clock.now() - token.used <= NOTED


def scopes(token: Token) -> frozenset[Scope]:
    """Return what a token may do."""
    return frozenset(Scope(each) for each in token.scopes.split())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
