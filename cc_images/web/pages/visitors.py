"""Visitors of pages: accounts by their sessions, and people who have not logged in yet."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Request
from starlette.responses import Response

from cc_images.web.access import Caller, Gatekeeper, Problem
from cc_images.web.sessions import COOKIE, cookie_options, csrf_token, is_csrf_token
from cc_images.web.tables import Account

FORMS = "cc_images_form"
"""The cookie of who has no session: forms to log in or sign up are made for it, as others are for a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks at a page. `number` is the id of the session, or what FORMS has."""

    caller: Caller | None
    number: str
    fresh: bool = False
    """Whether the browser does not have the number yet."""

    @property
    def csrf(self) -> str:
        """The token for forms."""
        return csrf_token(self.number)

    def has_made(self, said: str) -> bool:
        """Say whether a form with this token was made for this visitor."""
        return not self.fresh and is_csrf_token(self.number, said)


def visitor(request: Request) -> Visitor:
    """Return who looks; `request.state.visitor` has it from then on."""
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    caller = gatekeeper.by_session(request)
    number = request.cookies.get(COOKIE if caller is not None else FORMS, "")
    found = Visitor(caller=caller, number=number or secrets.token_urlsafe(32), fresh=not number)
    request.state.visitor = found
    return found


def member(request: Request, found: Annotated[Visitor, Depends(visitor)]) -> Caller:
    """Return the account that looks. Raises Problem, which leads to the form to log in."""
    if found.caller is None:
        raise Problem(303, "log in first", headers={"location": log_in_address(request)})
    return found.caller


def log_in_address(request: Request) -> str:
    """Return the address of the form to log in, which leads back to what was asked for."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/login" + (f"?{urlencode({'next': asked})}" if request.method == "GET" and asked != "/" else "")


def administrator(caller: Annotated[Caller, Depends(member)]) -> Caller:
    """Return the administrator who looks. Raises Problem; for others there is no such page."""
    if not caller.is_administrator:
        raise Problem(404, "there is no such page")
    return caller


Anyone = Annotated[Visitor, Depends(visitor)]
Member = Annotated[Caller, Depends(member)]
Administrator = Annotated[Caller, Depends(administrator)]


def enter(request: Request, response: Response, account: Account, address: str = "") -> None:
    """Open a session and give the browser its new id: what it had before is worth nothing from then on.

    `address`: whence somebody logs in.
    """
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    leave(request, response)
    options: dict[str, Any] = cookie_options(secure=is_secure(request))
    response.set_cookie(COOKIE, gatekeeper.sessions.open(account, address), **options)
    response.delete_cookie(FORMS)


def leave(request: Request, response: Response) -> None:
    """End the session of a request, if it has one."""
    if number := request.cookies.get(COOKIE, ""):
        gatekeeper: Gatekeeper = request.app.state.gatekeeper
        gatekeeper.sessions.close(number)
        response.delete_cookie(COOKIE)


def is_secure(request: Request) -> bool:
    """Say whether the browser comes by TLS, to the service or to a proxy in front of it."""
    secure: bool = request.app.state.service.secure
    return secure or request.url.scheme == "https"
