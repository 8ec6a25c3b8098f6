"""The status of a build for clients that ask again and again: one question to the database for all that decides.

Who asks is looked up with the build, each time, so an account, token or password that has ended since counts at once.
All that is unusual, and every refusal, is left to the same route of `build_routes`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from sqlalchemy import Select, bindparam, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Asked

from cc_images.errors import CCImagesError
from cc_images.web import tokens
from cc_images.web.access import TOKEN, name_and_password
from cc_images.web.queue import NEWEST_RUN, PLACE, Entry
from cc_images.web.service import Service
from cc_images.web.tables import Account, Attempt, Base, Build, Requester, Token

AT_ONCE = 2
"""Questions that are asked at a time: threads wait for each other anyhow, and others keep theirs."""

_PATH = re.compile(r"(?:/api/v1)?/build/([0-9a-f]{32})\Z")

_TABLES: tuple[type[Base], ...] = (Account, Build, Requester, Attempt, Token)
_NAMES = tuple(tuple(each.__table__.columns.keys()) for each in _TABLES)
_MINE = (Requester.build == Build.number) & (Requester.account_id == Account.id)
_ALL = (
    select(*(each.__table__ for each in _TABLES), PLACE)
    .select_from(Account)
    .join(Build, Build.id == bindparam("id"))
    .outerjoin(Requester, _MINE)
    .outerjoin(Attempt, Attempt.id == NEWEST_RUN)
)
_BY_TOKEN = _ALL.join(Token, Token.account_id == Account.id).where(Token.id == bindparam("who"))
_BY_NAME = _ALL.outerjoin(Token, Token.id == "").where(Account.name == bindparam("who"))


@dataclass(frozen=True, slots=True)
class Route:
    """The name of the route in the figures of the service."""

    path: str = "/build/{id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who a request says to come from: a name, a token's id, or both; and the secret that proves it."""

    name: str
    token: str
    secret: str

    @property
    def question(self) -> tuple[Select[Any], str]:
        """What asks for the account, and by which word."""
        return (_BY_TOKEN, self.token) if self.token else (_BY_NAME, self.name)


class StatusRoute:
    """Answers for an application what it can, and hands it the rest."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._places: CapacityLimiter | None = None
        self._route = Route()

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        """Carry out a request."""
        body = await self._answer(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if body is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Asked) -> bytes | None:
        path = _PATH.match(scope["path"])
        if path is None or scope["query_string"]:
            return None
        claim = _claim(next((value for name, value in scope["headers"] if name == b"authorization"), b""))
        if claim is None:
            return None
        self._places = self._places or CapacityLimiter(AT_ONCE)  # made where the loop is
        return await run_sync(self._body, claim, path[1], limiter=self._places)

    def _body(self, claim: Claim, id: str) -> bytes | None:
        """Return the answer; None for what the application shall answer, also with an error."""
        question, who = claim.question
        service = self._service
        try:
            with service.database.asking() as session:
                row = session.connection().execute(question, {"id": id, "who": who}).one_or_none()
                if row is None:
                    return None
                account, build, mine, run, token = _values(row)
                if not self._is(claim, account, token):
                    return None
                found = Entry(build=build, mine=mine, run=run, position=row[-1])
                entry = service.queue.seen(session, account, found)
            return service.viewer.build(entry, whole=True).model_dump_json().encode() if entry is not None else None
        except (SQLAlchemyError, CCImagesError):
            return None

    def _is(self, claim: Claim, account: Account, token: Token | None) -> bool:
        """Say whether a claim is true for certain, and what it is for may be read."""
        if token is None:
            return self._service.gatekeeper.accounts.remembers(account, claim.secret)
        return (
            account.closed is None
            and claim.name in ("", account.name)
            and tokens.opens(token, claim.secret)
            and tokens.is_noted(token)
            and tokens.Scope.READ in tokens.scopes(token)
        )


def _claim(header: bytes) -> Claim | None:
    kind, _, said = header.decode("latin-1").partition(" ")
    name, secret = "", said.strip()
    if kind.lower() == "basic":
        name, secret = name_and_password(secret) or ("", "")
        if not name:
            return None
    elif kind.lower() != "bearer":
        return None
    if name and not secret.startswith(TOKEN):
        return Claim(name=name, token="", secret=secret)
    found = tokens.parts(secret)
    return Claim(name=name, token=found[0], secret=found[1]) if found is not None else None


def _values(row: Sequence[Any]) -> list[Any]:
    """Return what a row has of each table, by its names of columns; None for a table that has nothing there.

    They are no objects of the mapper, which take longer than the question itself; views read attributes alone.
    """
    found: list[Any] = []
    start = 0
    for names in _NAMES:
        values = row[start : start + len(names)]
        start += len(names)
        found.append(SimpleNamespace(**dict(zip(names, values, strict=True))) if values[0] is not None else None)
    return found
