"""Routes of operations: health, metrics, builders."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, PlainTextResponse

from cc_images.web.access import Problem
from cc_images.web.routing import Reader, the
from cc_images.web.supervisor import waiting_since

router = APIRouter(tags=["operations"])

ANSWER = 60.0
"""Seconds in which the builder hosts must have said how they stand, the first time."""

STUCK = 60.0
"""Seconds without a look of the supervisor after which the service is not well."""


class Health(BaseModel):
    """How the service is: each is `ok`, or says what is wrong."""

    database: str
    queue: str
    state: str


@router.get("/health", response_model=Health, openapi_extra={"security": []},
            responses={503: {"model": Health, "description": "It is not well, or about to end."}})  # fmt: skip
def get_health(request: Request) -> JSONResponse:
    """Say whether the service is well. Needs no account."""
    service = the(request)
    said = {"database": "ok", "queue": "ok", "state": "draining" if service.draining.is_set() else "ok"}
    try:
        with service.database.reading() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        said["database"] = "no answer"
    if time.monotonic() - service.supervisor.looked > STUCK:
        said["queue"] = "stands still"
    well = all(each == "ok" for each in said.values())
    return JSONResponse(said, status_code=200 if well else 503)


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(request: Request, caller: Reader) -> PlainTextResponse:
    """Return figures for Prometheus; for administrators."""
    if not caller.is_administrator:
        raise Problem(403, "this is for administrators")
    service = the(request)
    with service.database.reading() as session:
        oldest = waiting_since(session)
    counts = service.queue.counts()
    lines = ["# TYPE cc_images_service_builds gauge"]
    lines += [f'cc_images_service_builds{{state="{name}"}} {count}' for name, count in sorted(counts.items())]
    lines += ["# TYPE cc_images_service_oldest_wait_seconds gauge", f"cc_images_service_oldest_wait_seconds {oldest}"]
    lines += ["# TYPE cc_images_service_places gauge", f"cc_images_service_places {service.queue.limits.places}"]
    uptime = time.monotonic() - service.began
    lines += ["# TYPE cc_images_service_up_seconds gauge", f"cc_images_service_up_seconds {uptime:.0f}"]
    figures = sorted(request.app.state.figures.copy().items())  # requests go on meanwhile
    lines.append("# TYPE cc_images_service_requests_total counter")
    for (method, route, status), (count, _) in figures:
        lines.append(f'cc_images_service_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}')
    lines.append("# TYPE cc_images_service_request_seconds_total counter")
    for (method, route, status), (_, spent) in figures:
        labels = f'method="{method}",route="{route}",status="{status}"'
        lines.append(f"cc_images_service_request_seconds_total{{{labels}}} {spent:.3f}")
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


@router.get("/builders", response_model=None, responses={200: {"content": {"application/json": {"schema": {
    "type": "object"}}}}})  # fmt: skip
def get_builders(request: Request, caller: Reader) -> dict[str, Any]:
    """Show the builder hosts, how much is at work on each, and the queue; to administrators also what and whose."""
    found = request.app.state.fleet.status(ANSWER)
    if found is None:
        raise Problem(503, "the builder hosts have not answered yet; try again soon", headers={"retry-after": "10"})
    return asdict(found if caller.is_administrator else found.outline)
