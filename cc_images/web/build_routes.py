"""Routes of builds: request, status, cancel, log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from starlette.responses import Response

from cc_images.web import kinds, live_log
from cc_images.web.access import Caller, Problem
from cc_images.web.files import cleaned, file_response
from cc_images.web.queue import Entry
from cc_images.web.routing import Builder, Reader, Requested, submit, the
from cc_images.web.service import Service
from cc_images.web.tables import OVER
from cc_images.web.views import BuildView, status_of

router = APIRouter(tags=["builds"])

TEXT = "text/plain; charset=utf-8"

UNKNOWN = "there is no such build"


REQUEST_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": kinds.schema()}}}}


@router.post("/build", openapi_extra=REQUEST_BODY)
@router.post("/build/", include_in_schema=False)
def request_build(request: Request, caller: Builder, body: Annotated[Any, Body()]) -> Requested:
    """Request a build. An identical request that waits or runs is joined."""
    service = the(request)
    service.requests.take(caller.account.id)  # first: to check it may take some time, and others' servers
    try:
        value = kinds.checked(body, service.catalogue.config)
    except kinds.BadRequest as bad:
        raise Problem(bad.status, bad.message, bad.field) from None
    return submit(service, caller, value)


@router.get("/builds")
def list_builds(
    request: Request,
    caller: Reader,
    everyone: Annotated[bool, Query(description="For administrators: those of all accounts.")] = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only builds with a smaller number.")] = 0,
) -> list[BuildView]:
    """List builds, the newest first."""
    service = the(request)
    found = service.queue.entries(caller.account, everyone=everyone, most=limit, before=before)
    return service.viewer.builds(found)


@router.get("/build/{id}")
def get_build(request: Request, caller: Reader, id: str) -> BuildView:
    """Show how a build stands."""
    return the(request).viewer.build(entry_of(request, caller, id), whole=True)


@router.delete("/build/{id}")
def delete_build(request: Request, caller: Builder, id: str) -> dict[str, str]:
    """Cancel a build that is not over; remove one that is from the list. It goes on for others who requested it."""
    return {"id": id, "done": withdrawn(request, caller, id)}


def withdrawn(request: Request, caller: Caller, id: str, *, remove: bool = True) -> str:
    """Cancel or remove a build, or without `remove` only cancel it; return what was done. Raises Problem."""
    service = the(request)
    service.requests.take(caller.account.id)
    done = service.queue.withdraw(caller.account, id, caller.address, remove=remove)
    if done is None:
        raise Problem(404, UNKNOWN)
    service.supervisor.wake()
    return done


@router.get("/build/{id}/log", response_class=Response, responses={
    200: {"content": {"text/plain": {}, "text/event-stream": {}}, "description": "The log, whole or as it grows."},
    206: {"content": {"text/plain": {}}, "description": "A part of it."},
    416: {"description": "It has nothing there yet."},
})  # fmt: skip
def get_log(
    request: Request,
    caller: Reader,
    id: str,
    task: Annotated[str, Query(max_length=300, description="A task of the build; empty: what its run prints.")] = "",
    follow: Annotated[bool, Query(description="Send events as it grows; so does `Accept: text/event-stream`.")] = False,
    offset: Annotated[int, Query(ge=0, le=2**53, description="With follow: where to begin.")] = 0,
) -> Response:
    """Return a log: whole, by range, or live as events whose ids are offsets in bytes."""
    service, entry = the(request), entry_of(request, caller, id)
    path = log_path(service, entry, task)
    if not (follow or "text/event-stream" in request.headers.get("accept", "")):
        try:
            return file_response(path, request, {}, TEXT, cleaned)
        except OSError:
            return Response(media_type=TEXT)
    last = request.headers.get("last-event-id", "")
    start = int(last) if last.isascii() and last.isdigit() and len(last) < 17 else offset

    def over() -> str | None:
        still = service.gatekeeper.again(request, caller)
        now = service.queue.entry(still.account, id) if still is not None else None
        if service.draining.is_set():
            return "the service ends; connect again"
        if now is None:
            return "removed"
        return status_of(now, None)[0] if now.withdrawn or now.build.state == OVER else None

    return live_log.Live(live_log.events(path, start, over), service.streams.take(caller.account.id))


def entry_of(request: Request, caller: Caller, id: str) -> Entry:
    """Return a build of a caller. Raises Problem, also for somebody else's."""
    found = the(request).queue.entry(caller.account, id)
    if found is None:
        raise Problem(404, UNKNOWN)
    return found


def log_path(service: Service, entry: Entry, task: str) -> Path:
    """Return the file of a log. A task's name is looked up among those of the run, and is no path."""
    if entry.build.removed is not None:
        when, days = entry.build.removed.date(), service.queue.limits.days
        raise Problem(404, f"the log was removed on {when}: logs are kept for {days} days after the end of a build")
    if not task:
        return service.viewer.log(entry)
    progress = service.viewer.watcher.of(entry.build, entry.run)
    if progress is None or task not in progress.logs or entry.run is None:
        raise Problem(404, "the build has no such task", "task")
    return service.viewer.watcher.task_log(entry.run, task)
