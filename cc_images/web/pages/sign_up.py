"""The page to make an account, where the service lets people do that."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from cc_images.web.access import Problem
from cc_images.web.pages.forms import Posted, redirect
from cc_images.web.pages.layout import page
from cc_images.web.pages.visitors import Anyone, enter
from cc_images.web.passwords import Unfit

router = APIRouter()


@router.get("/signup")
def get_sign_up(request: Request, visitor: Anyone, invitation: str = "") -> Response:
    """Show the form; an invitation may stand in the address."""
    if visitor.caller is not None:
        return redirect("/")
    return page(request, "sign_up.html", mode=_mode(request), name="", invitation=invitation[:100], errors={})


@router.post("/signup")
def sign_up(request: Request, form: Posted) -> Response:
    """Make an account, and log in as it."""
    name, invitation, password = form.one("name"), form.one("invitation"), form.secret("password")
    mode, errors = _mode(request), {"again": "The two differ."}
    if password == form.secret("again"):
        address = request.client.host if request.client is not None else ""
        try:
            made = request.app.state.service.entrance.sign_up(name, password, invitation, address)
        except Unfit as error:
            errors = {error.field: error.message}
        else:
            answer = redirect("/", "welcome")
            enter(request, answer, made)
            return answer
    said = {"mode": mode, "name": name[:100], "invitation": invitation[:100], "errors": errors}
    return page(request, "sign_up.html", status=400, **said)


def _mode(request: Request) -> str:
    """Return who may sign up. Raises Problem; where nobody may, there is no such page."""
    mode: str = request.app.state.service.entrance.mode
    if mode == "off":
        raise Problem(404, "people do not make accounts here themselves; ask an administrator for one")
    return mode
