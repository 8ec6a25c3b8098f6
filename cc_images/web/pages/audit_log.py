"""The page of the audit log: who did what, for administrators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from cc_images.web import audit
from cc_images.web.pages.layout import page
from cc_images.web.pages.visitors import Administrator
from cc_images.web.routing import the

router = APIRouter()

LISTED = 50
"""Rows on one page."""


@router.get("/administration/audit")
def get_audit_log(
    request: Request,
    caller: Administrator,
    account: Annotated[str, Query(max_length=64)] = "",
    action: Annotated[str, Query(max_length=32)] = "",
    before: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> Response:
    """Show rows, the newest first: all, or those of one account or action."""
    account, action = account.strip(), action.strip()
    with the(request).database.reading() as session:
        rows = audit.newest(session, LISTED + 1, before or None, account, action)
        actions = audit.actions(session)
    more = rows[LISTED - 1].id if len(rows) > LISTED else 0
    said: dict[str, Any] = {"account": account, "action": action, "actions": actions, "before": before}
    return page(request, "audit_log.html", rows=rows[:LISTED], more=more, **said)
