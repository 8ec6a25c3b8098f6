"""The pages of logs: they follow, and are searched; the file itself is that of the interface."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from cc_images.web import build_routes
from cc_images.web.pages import log_text
from cc_images.web.pages.frame import Member, page
from cc_images.web.pages.request_words import is_over, title
from cc_images.web.routing import the

router = APIRouter()

Task = Annotated[str, Query(max_length=300)]
Words = Annotated[str, Query(max_length=200)]


@router.get("/requests/{id}/log")
def get_log(
    request: Request, caller: Member, id: str, task: Task = "", q: Words = "",
    end: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> Response:  # fmt: skip
    """Show the end of a log, or the part that ends at an offset, or the lines that have a text."""
    service, entry = the(request), build_routes.entry_of(request, caller, id)
    path = build_routes.log_path(service, entry, task)
    build = service.viewer.build(entry, whole=True)
    part = log_text.part(path, end, whole=is_over(build) or bool(end))
    chosen = {"task": task} if task else {}
    follow = urlencode({"follow": "true", "offset": part.end, **chosen})
    return page(
        request,
        "log.html",
        build=build,
        heading=title(build),
        task=task,
        part=part,
        query=q,
        found=log_text.search(path, q) if q else None,
        live="" if is_over(build) or end or q else f"/build/{id}/log?{follow}",
        file=f"/build/{id}/log" + (f"?{urlencode(chosen)}" if chosen else ""),
        older=f"/requests/{id}/log?{urlencode({'end': part.start, **chosen})}" if part.start else "",
        newest=f"/requests/{id}/log" + (f"?{urlencode(chosen)}" if chosen else ""),
    )
