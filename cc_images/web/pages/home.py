"""The first page: what runs and waits, and how the builder hosts stand."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from cc_images.model.fleet import FleetStatus
from cc_images.web.access import Caller
from cc_images.web.pages.frame import Member, page, rendered, stream
from cc_images.web.pages.request_words import detail, is_over, title
from cc_images.web.routing import the

router = APIRouter()

ANSWER = 1.5
"""Seconds for which the page waits for builder hosts when nothing is known of them."""

MOST = 50
"""Requests that are looked at."""

LATEST = 5
"""Requests that are over and shown here, too."""


@router.get("/")
def get_home(request: Request, caller: Member) -> Response:
    """Show what goes on."""
    return page(request, "home.html", **_now(request, caller, ANSWER))


@router.get("/live")
def follow_home(request: Request, caller: Member) -> Response:
    """Send what goes on whenever it has changed."""
    return stream(request, lambda now: (rendered(request, "home_part.html", **_now(request, now, 0.1)), False))


def _now(request: Request, caller: Caller, patience: float) -> dict[str, Any]:
    service = the(request)
    entries = service.queue.entries(caller.account, everyone=caller.is_administrator, most=MOST)
    found = [service.viewer.build(entry, whole=False) for entry in entries]
    under_way = [each for each in found if not is_over(each)]
    fleet: FleetStatus | None = request.app.state.fleet.known(patience)
    return {
        "counts": service.queue.counts(),
        "places": service.queue.limits.places,
        "running": [each for each in under_way if not each.queue_position],
        "waiting": sorted((each for each in under_way if each.queue_position), key=lambda each: each.number),
        "latest": [each for each in found if is_over(each)][:LATEST],
        "hosts": _hosts(fleet) if fleet is not None else None,
        "title_of": title,
        "detail_of": detail,
    }


def _hosts(fleet: FleetStatus) -> list[dict[str, Any]]:
    """Return the builder hosts; what others do there is a number."""
    return [
        {"name": host.name, "state": str(host.state), "architectures": ", ".join(host.architectures),
         "cores": host.cores, "at_work": len(host.at_work), "limit": host.limit}
        for host in fleet.hosts
    ]  # fmt: skip
