"""Routes of operations: health, metrics, builders."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
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


METRICS = {
    "builds": ("gauge", "Builds by how they stand; those that are over by how they ended."),
    "oldest_wait_seconds": ("gauge", "How long the build at the head of the queue has waited."),
    "places": ("gauge", "Builds that may run at a time."),
    "up_seconds": ("gauge", "Time since the service began."),
    "requests_total": ("counter", "Requests that were answered."),
    "request_seconds_total": ("counter", "Time that answers took, all together."),
}
"""Kind and meaning of each metric; all names begin with `cc_images_service_`."""


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
    figures = sorted(request.app.state.figures.copy().items())  # requests go on meanwhile
    asked = {f'method="{method}",route="{route}",status="{status}"': each for (method, route, status), each in figures}
    lines = [
        *_metric("builds", {f'state="{name}"': count for name, count in sorted(counts.items())}),
        *_metric("oldest_wait_seconds", {"": oldest}),
        *_metric("places", {"": service.queue.limits.places}),
        *_metric("up_seconds", {"": round(time.monotonic() - service.began)}),
        *_metric("requests_total", {labels: count for labels, (count, _) in asked.items()}),
        *_metric("request_seconds_total", {labels: round(spent, 3) for labels, (_, spent) in asked.items()}),
    ]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _metric(name: str, samples: Mapping[str, float]) -> Iterator[str]:
    """Yield the lines of a metric; `samples` has values by their labels."""
    kind, meaning = METRICS[name]
    whole = f"cc_images_service_{name}"
    yield f"# HELP {whole} {meaning}"
    yield f"# TYPE {whole} {kind}"
    for labels, value in samples.items():
        yield f"{whole}{{{labels}}} {value}" if labels else f"{whole} {value}"


@router.get("/builders", response_model=None, responses={200: {"content": {"application/json": {"schema": {
    "type": "object"}}}}})  # fmt: skip
def get_builders(request: Request, caller: Reader) -> dict[str, Any]:
    """Show the builder hosts, how much is at work on each, and the queue; to administrators also what and whose."""
    found = request.app.state.fleet.known(ANSWER)
    if found is None:
        raise Problem(503, "the builder hosts have not answered yet; try again soon", headers={"retry-after": "10"})
    return asdict(found if caller.is_administrator else found.outline)
