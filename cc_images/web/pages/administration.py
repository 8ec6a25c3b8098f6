"""The pages for administrators: accounts with their roles and quotas, and invitations. For others there are none."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from cc_images.errors import UserError
from cc_images.web import administration_routes as routes
from cc_images.web.pages.amounts import size, typed, whole
from cc_images.web.pages.forms import Form, Posted, redirect
from cc_images.web.pages.layout import page
from cc_images.web.pages.visitors import Administrator
from cc_images.web.routing import the

router = APIRouter()

HERE = "/administration"


@router.get(HERE)
def get_accounts(request: Request, caller: Administrator) -> Response:
    """Show all accounts, and a form for another one."""
    return _accounts(request, caller)


@router.post(HERE)
def add_account(request: Request, caller: Administrator, form: Posted) -> Response:
    """Make an account."""
    name, password = form.one("name"), form.secret("password")
    if password != form.secret("again"):
        return _accounts(request, caller, status=400, errors={"again": "The two differ."}, form=form)
    try:
        said = routes.NewAccount(name=name[:64], password=password, administrator=form.has("administrator"))
    except ValueError:
        return _accounts(request, caller, status=400, errors={"password": "It is too long."}, form=form)
    try:
        routes.add_account(request, caller, said)
    except UserError as error:
        return _accounts(request, caller, status=400, errors=_named(error), form=form)
    return redirect(HERE, "added")


def _accounts(request: Request, caller: Administrator, *, status: int = 200, **more: Any) -> Response:
    given = {"errors": {}, "form": Form(())}
    rows = routes.list_accounts(request, caller)
    return page(request, "accounts.html", status=status, rows=rows, **given | more)


@router.get(HERE + "/accounts/{name}")
def get_account(request: Request, caller: Administrator, name: str) -> Response:
    """Show an account, what it uses, and forms to change it."""
    return _account(request, name)


@router.post(HERE + "/accounts/{name}/limits")
def change_limits(request: Request, caller: Administrator, form: Posted, name: str) -> Response:
    """Change the limits of an account; an empty field gives it that of the service."""
    errors: dict[str, str] = {}
    said: dict[str, int | None] = {}
    for field, read in (("running", whole), ("waiting", whole), ("bytes", size)):
        try:
            said[field] = read(form.one(field))
        except ValueError as error:
            errors[field] = str(error)
    if errors:
        return _account(request, name, status=400, errors=errors, form=form)
    routes.change_account(request, caller, name, routes.AccountChange.model_validate(said))
    return redirect(f"{HERE}/accounts/{name}", "limited")


@router.post(HERE + "/accounts/{name}/role")
def change_role(request: Request, caller: Administrator, form: Posted, name: str) -> Response:
    """Give an account another role."""
    wanted = routes.AccountChange(administrator=form.one("role") == "administrator")
    try:
        routes.change_account(request, caller, name, wanted)
    except UserError as error:
        return _account(request, name, status=400, errors={"role": error.message})
    return redirect(f"{HERE}/accounts/{name}" if name != caller.account.name else "/me", "role")


@router.post(HERE + "/accounts/{name}/close")
def close_account(request: Request, caller: Administrator, form: Posted, name: str) -> Response:
    """Close an account, if that box is checked."""
    if not form.has("sure"):
        return _account(request, name, status=400, errors={"close": "Check the box first: nobody can undo it."})
    try:
        routes.close_account(request, caller, name)
    except UserError as error:
        return _account(request, name, status=400, errors={"close": error.message})
    return redirect(HERE, "closed")


def _account(request: Request, name: str, *, status: int = 200, **more: Any) -> Response:
    account = routes.present(request, name, closed=True)
    quotas = the(request).quotas
    own = {"running": account.most_running, "waiting": account.most_waiting, "bytes": typed(account.most_bytes)}
    given = {
        "errors": {},
        "form": Form(tuple((field, "" if most is None else str(most)) for field, most in own.items())),
    }
    said = {"used": quotas.used(account), "most": quotas.most(account), "limits": the(request).queue.limits}
    return page(request, "account.html", status=status, account=account, **said, **given | more)


@router.get(HERE + "/invitations")
def get_invitations(request: Request, caller: Administrator) -> Response:
    """Show invitations, and a form for another one."""
    return _invitations(request, caller)


@router.post(HERE + "/invitations")
def create_invitation(request: Request, caller: Administrator, form: Posted) -> Response:
    """Make an invitation, and show it: this page alone has it."""
    try:
        days = whole(form.one("days"), 90, 1)
    except ValueError as error:
        return _invitations(request, caller, status=400, errors={"days": str(error)}, form=form)
    said = routes.InvitationRequest(label=form.one("label")[:100], days=days or 7)
    made = routes.create_invitation(request, caller, said)
    return _invitations(request, caller, made=made)


@router.post(HERE + "/invitations/{id}/revoke")
def revoke_invitation(request: Request, caller: Administrator, form: Posted, id: str) -> Response:
    """Revoke an invitation."""
    routes.revoke_invitation(request, caller, id)
    return redirect(f"{HERE}/invitations", "revoked")


def _invitations(request: Request, caller: Administrator, *, status: int = 200, **more: Any) -> Response:
    given = {"errors": {}, "form": Form(()), "made": None, "mode": the(request).entrance.mode}
    rows = routes.list_invitations(request, caller)
    return page(request, "invitations.html", status=status, rows=rows, base=request.base_url, **given | more)


def _named(error: UserError) -> dict[str, str]:
    return {getattr(error, "field", "") or "name": error.message}
