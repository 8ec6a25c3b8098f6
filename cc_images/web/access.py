"""Access: who calls, by password, token or session, and what they may do."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, replace

from fastapi import Request

from cc_images.web.accounts import Accounts, Role
from cc_images.web.sessions import COOKIE, Sessions, is_csrf_token
from cc_images.web.tables import Account
from cc_images.web.tokens import Scope, Tokens

SAFE = ("GET", "HEAD", "OPTIONS")

TOKEN = "cci_"
"""How a token begins, which may stand in the place of the password."""


class Problem(Exception):
    """An answer that is an error: its status, a sentence, and the field at fault, if there is one."""

    def __init__(self, status: int, message: str, field: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field
        self.headers = headers or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls."""

    account: Account
    scopes: frozenset[Scope]
    address: str

    @property
    def is_administrator(self) -> bool:
        """Whether the account sees everything."""
        return self.account.role == Role.ADMINISTRATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatekeeper:
    """Finds out who calls."""

    accounts: Accounts
    tokens: Tokens
    sessions: Sessions

    def caller(self, request: Request) -> Caller | None:
        """Return who calls; None for nobody that is known. Raises TooMany, and Problem for a form without its token."""
        address = request.client.host if request.client is not None else ""
        header = request.headers.get("authorization", "")
        kind, _, said = header.partition(" ")
        if kind.lower() == "bearer":
            return self._by_token(said.strip(), "", address)
        if request.method not in SAFE and _is_of_another_site(request):  # browsers add passwords and cookies to these
            raise Problem(403, "the request comes from a page of another site")
        if kind.lower() == "basic":
            return self._by_name(said.strip(), address)
        found = self.by_session(request) if not header else None
        if found is None or request.method in SAFE:
            return found
        if not is_csrf_token(request.cookies[COOKIE], request.headers.get("x-csrf-token", "")):
            raise Problem(403, "the request has no CSRF token of this session")
        return found

    def by_session(self, request: Request) -> Caller | None:
        """Return whose session a request has, as pages know callers; that a form is of it is looked at elsewhere."""
        number = request.cookies.get(COOKIE, "")
        account = self.sessions.owner(number) if number else None
        if account is None:
            return None
        address = request.client.host if request.client is not None else ""
        return Caller(account=account, scopes=frozenset(Scope), address=address)

    def again(self, request: Request, caller: Caller) -> Caller | None:
        """Return who calls as it is now, for long answers; None when the account, session or token has ended since.

        A password is not asked for again: that takes time, and others who guess it would cut the answer.
        """
        kind, _, said = request.headers.get("authorization", "").partition(" ")
        if not kind:
            return self.by_session(request)
        if kind.lower() == "bearer":
            return self._by_token(said.strip(), "", caller.address)
        name, password = name_and_password(said.strip()) or ("", "")
        if password.startswith(TOKEN):
            return self._by_token(password, name, caller.address)
        account = self.accounts.by_id(caller.account.id)
        return replace(caller, account=account) if account is not None else None

    def _by_token(self, text: str, name: str, address: str) -> Caller | None:
        found = self.tokens.owner(text)
        if found is None or (name and found[0].name != name):
            return None
        return Caller(account=found[0], scopes=found[1], address=address)

    def _by_name(self, said: str, address: str) -> Caller | None:
        found = name_and_password(said)
        if found is None:
            return None
        name, password = found
        if password.startswith(TOKEN):
            return self._by_token(password, name, address)
        account = self.accounts.log_in(name, password, address)
        return Caller(account=account, scopes=frozenset(Scope), address=address) if account is not None else None


def name_and_password(said: str) -> tuple[str, str] | None:
    """Return what a Basic header has; None for one that has no such thing."""
    try:
        name, colon, password = base64.b64decode(said, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return (name, password) if colon else None


def _is_of_another_site(request: Request) -> bool:
    """Say whether a browser sends a request for a page that is not of this service; other clients tell no origin."""
    site, origin = request.headers.get("sec-fetch-site", ""), request.headers.get("origin")
    if site or origin is None:
        return site in ("cross-site", "same-site")
    return _host(origin.partition("://")[2]) != _host(request.headers.get("host", ""))


def _host(said: str) -> str:
    return said.lower().rpartition(":")[0] if said.rpartition(":")[2].isdigit() else said.lower()


def needs(scope: Scope) -> Callable[[Request], Caller]:
    """Return the dependency of routes for callers who may do something."""

    def found(request: Request) -> Caller:
        gatekeeper: Gatekeeper = request.app.state.gatekeeper
        caller = gatekeeper.caller(request)
        if caller is None:
            challenge = {"www-authenticate": 'Basic realm="cc-images", charset="UTF-8"'}
            raise Problem(401, "log in with the name and password of an account, or with a token", headers=challenge)
        if scope not in caller.scopes:
            raise Problem(403, f"this token may not do that: it lacks the scope {scope}")
        return caller

    return found
