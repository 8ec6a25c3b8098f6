"""The pages of build requests: the list, one request as it goes on, and what can be done with it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from cc_images.web import build_routes
from cc_images.web.access import Caller
from cc_images.web.pages.frame import Member, Posted, local, page, redirect, rendered, stream
from cc_images.web.pages.request_words import again, detail, facts, is_over, title
from cc_images.web.routing import the

router = APIRouter()

LISTED = 30
"""Requests on one page."""

Before = Annotated[int, Query(ge=0, le=2**31 - 1)]


@router.get("/requests")
def get_requests(request: Request, caller: Member, everyone: bool = False, before: Before = 0) -> Response:
    """Show the requests of an account; to an administrator those of all, if that is asked for."""
    return page(request, "requests.html", **_list(request, caller, everyone, before))


@router.get("/requests/live")
def follow_requests(request: Request, caller: Member, everyone: bool = False, before: Before = 0) -> Response:
    """Send the list whenever it has changed."""
    return stream(
        request, lambda now: (rendered(request, "requests_part.html", **_list(request, now, everyone, before)), False)
    )


def _list(request: Request, caller: Caller, everyone: bool, before: int) -> dict[str, Any]:
    everyone = everyone and caller.is_administrator
    service = the(request)
    found = service.queue.entries(caller.account, everyone=everyone, most=LISTED + 1, before=before)
    rows = [(service.viewer.build(entry, whole=False), entry.mine is not None) for entry in found[:LISTED]]
    more = rows[-1][0].number if len(found) > LISTED else 0
    return {"rows": rows, "everyone": everyone, "before": before, "more": more, "title_of": title, "detail_of": detail,
            "is_over": is_over}  # fmt: skip


@router.get("/requests/{id}")
def get_request(request: Request, caller: Member, id: str) -> Response:
    """Show one request."""
    return page(request, "request.html", **_one(request, caller, id))


@router.get("/requests/{id}/live")
def follow_request(request: Request, caller: Member, id: str) -> Response:
    """Send how a request stands whenever that has changed."""
    build_routes.entry_of(request, caller, id)

    def look(now: Caller) -> tuple[str, bool]:
        found = _one(request, now, id)
        return rendered(request, "request_part.html", **found), is_over(found["build"])

    return stream(request, look)


def _one(request: Request, caller: Caller, id: str) -> dict[str, Any]:
    entry = build_routes.entry_of(request, caller, id)
    build = the(request).viewer.build(entry, whole=True)
    words = {"title_of": title, "is_over": is_over, "facts": facts, "again": again}
    return {"build": build, "mine": entry.mine is not None, **words}


@router.post("/requests/{id}/withdraw")
def withdraw(request: Request, caller: Member, id: str, form: Posted) -> Response:
    """Cancel a request that is not over; remove one that is from the list, unless the button was to cancel it."""
    done = build_routes.withdrawn(request, caller, id, remove=form.one("only") != "cancel")
    return redirect(local(form.one("next") or "/requests"), done)
