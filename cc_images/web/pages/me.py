"""The page of one's own account: what it uses, its password, its tokens."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from cc_images.errors import UserError
from cc_images.web import account_routes
from cc_images.web.pages.amounts import whole
from cc_images.web.pages.forms import Form, Posted, redirect
from cc_images.web.pages.layout import page
from cc_images.web.pages.visitors import Member, enter

router = APIRouter()

SCOPES = {"read": "See builds and images", "build": "Request and cancel builds", "push": "Publish on the sites"}
"""What a token may do, as people read it."""


@router.get("/me")
def get_me(request: Request, caller: Member) -> Response:
    """Show the account of who looks."""
    return _page(request, caller)


@router.post("/me/password")
def change_password(request: Request, caller: Member, form: Posted) -> Response:
    """Change the password; the other sessions of the account end, this one gets a new id."""
    errors = _change_password(request, caller, form)
    if errors:
        return _page(request, caller, status=400, errors=errors)
    answer = redirect("/me", "password")
    enter(request, answer, caller.account)
    return answer


def _change_password(request: Request, caller: Member, form: Form) -> dict[str, str]:
    accounts, name = request.app.state.gatekeeper.accounts, caller.account.name
    if form.secret("new") != form.secret("again"):
        return {"again": "The two differ."}
    if accounts.log_in(name, form.secret("old"), caller.address) is None:
        return {"old": "That is not the password."}
    try:
        accounts.change_password(name, form.secret("new"), name, caller.address)
    except UserError as error:
        return {"new": error.message}
    return {}


@router.post("/me/tokens")
def create_token(request: Request, caller: Member, form: Posted) -> Response:
    """Make a token, and show it: this page alone has it."""
    errors: dict[str, str] = {}
    scopes, days = [each for each in SCOPES if each in form.every("scopes")], None
    if not scopes:
        errors["scopes"] = "At least one."
    try:
        days = whole(form.one("days"), account_routes.LONGEST, 1)
    except ValueError as error:
        errors["days"] = str(error)
    if errors:
        return _page(request, caller, status=400, errors=errors, form=form)
    said = account_routes.TokenRequest(label=form.one("label")[:100], scopes=scopes, days=days or 90)
    try:
        made = account_routes.create_token(request, caller, said)
    except UserError as error:
        return _page(request, caller, status=400, errors={"label": error.message}, form=form)
    return _page(request, caller, made=made)


@router.post("/me/tokens/{id}/revoke")
def revoke_token(request: Request, caller: Member, form: Posted, id: str) -> Response:
    """Revoke a token."""
    account_routes.revoke_token(request, caller, id)
    return redirect("/me", "revoked")


def _page(request: Request, caller: Member, *, status: int = 200, **more: Any) -> Response:
    given = {"errors": {}, "form": Form(()), "made": None, "scopes": SCOPES}
    tokens, mine = account_routes.list_tokens(request, caller), account_routes.get_account(request, caller)
    return page(request, "me.html", status=status, account=mine, tokens=tokens, **given | more)
