"""The first page."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from cc_images.web.pages.layout import page
from cc_images.web.pages.visitors import Member

router = APIRouter()


@router.get("/")
def get_home(request: Request, caller: Member) -> Response:
    """Show what runs now."""
    return page(request, "home.html")
