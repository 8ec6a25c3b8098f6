"""The pages to log in and out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from cc_images.web.pages.frame import Anyone, Posted, enter, leave, local, page, redirect

router = APIRouter()


@router.get("/login")
def get_log_in(request: Request, visitor: Anyone, next: str = "/") -> Response:
    """Show the form."""
    if visitor.caller is not None:
        return redirect(local(next))
    return page(request, "log_in.html", next=local(next), name="", wrong=False, signs_up=_signs_up(request))


@router.post("/login")
def log_in(request: Request, form: Posted) -> Response:
    """Open a session for who has the name and password of an account."""
    name, target = form.one("name"), local(form.one("next"))
    address = request.client.host if request.client is not None else ""
    account = request.app.state.gatekeeper.accounts.log_in(name, form.secret("password"), address)
    if account is None:
        return page(
            request, "log_in.html", status=400, next=target, name=name[:100], wrong=True, signs_up=_signs_up(request)
        )
    answer = redirect(target)
    enter(request, answer, account, address)
    return answer


def _signs_up(request: Request) -> bool:
    return bool(request.app.state.service.entrance.mode != "off")


@router.post("/logout")
def log_out(request: Request, form: Posted) -> Response:
    """End the session."""
    answer = redirect("/login", "left")
    leave(request, answer)
    return answer
