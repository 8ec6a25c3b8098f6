"""The layout of pages: templates in which all texts are escaped, notices, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cc_images import clock
from cc_images.report import units
from cc_images.web.pages.static_files import address
from cc_images.web.pages.visitors import FORMS, Visitor, is_secure, log_in_address

NOTICES: dict[str, str] = {
    "left": "You are logged out.",
    "requested": "It is requested.",
    "joined": "The same was requested already: both are one build.",
    "cancelled": "It is cancelled.",
    "removed": "It is removed from the list.",
    "over": "It is over already: nothing was changed.",
    "welcome": "The account is made, and you are logged in.",
    "password": "The password is changed. All other sessions have ended.",
    "revoked": "It is revoked.",
    "added": "The account is made.",
    "limited": "The limits are changed.",
    "role": "The role is changed.",
    "closed": "The account is closed.",
}
"""Sentences that a page shows after a form; addresses name them, so nobody can put another one there."""

TITLES: Mapping[int, str] = {
    400: "That cannot be done",
    401: "Log in first",
    403: "That is not allowed",
    404: "There is no such page",
    405: "That is not allowed",
    409: "It has changed meanwhile",
    429: "Too often",
    500: "The service has a fault",
    503: "Not now",
}


def page(request: Request, template: str, /, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page from its template; `visitors.visitor` has run before."""
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    answer = HTMLResponse(rendered(request, template, **values), status)
    if visitor is not None and visitor.fresh:
        answer.set_cookie(FORMS, visitor.number, httponly=True, samesite="lax", secure=is_secure(request), path="/")
    return answer


def rendered(request: Request, template: str, /, **values: Any) -> str:
    """Return the text of a template. Each has `visitor`, `caller`, `here` (the path) and `notice`."""
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    given = {
        "visitor": visitor,
        "caller": visitor.caller if visitor is not None else None,
        "here": request.url.path,
        "notice": NOTICES.get(request.query_params.get("notice", ""), ""),
    }
    return _environment().get_template(template).render(given | values)


def wanted(request: Request, status: int) -> bool:
    """Say whether an error is to be a page: programs, and what they use, get JSON."""
    is_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
    return is_page or status == 303


def error(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the page of an error, or lead to where an error can be mended."""
    if status == 303 and headers:
        return RedirectResponse(headers["location"], 303)
    if status == 401 and request.method == "GET":  # a link to the interface, and the session is over
        return RedirectResponse(log_in_address(request), 303)
    title = TITLES.get(status, "Something is wrong")
    answer = page(request, "error.html", status=status, title=title, message=message, number=status)
    answer.headers.update(dict(headers or {}))
    return answer


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "size": units.size, "about": _about, "age": _age, "moment": _moment, "machine_time": _machine_time,
    }  # fmt: skip
    made.globals["static"] = address
    return made


def _about(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else units.duration(seconds)


def _age(moment: datetime) -> str:
    return f"{units.age(clock.now() - moment)} ago"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _machine_time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
