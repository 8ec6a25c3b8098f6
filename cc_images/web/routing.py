"""What routes have in common: their callers, the service, and how a request is taken."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, Field

from cc_images.web.access import Caller, Problem, needs
from cc_images.web.queue import Full
from cc_images.web.service import Service
from cc_images.web.tokens import Scope
from cc_images.web.value import Value

Reader = Annotated[Caller, Depends(needs(Scope.READ))]
Builder = Annotated[Caller, Depends(needs(Scope.BUILD))]
Owner = Annotated[Caller, Depends(needs(Scope.ACCOUNT))]


def _administrator(caller: Owner) -> Caller:
    if not caller.is_administrator:
        raise Problem(403, "this is for administrators")
    return caller


Administrator = Annotated[Caller, Depends(_administrator)]


class Requested(BaseModel):
    """A request that was taken."""

    id: str
    joined: bool = Field(description="Whether an identical request was there already: both are one build.")


def the(request: Request) -> Service:
    """Return the service of a request."""
    found: Service = request.app.state.service
    return found


def submit(service: Service, caller: Caller, value: Value) -> Requested:
    """Take a checked request. Raises Problem, and TooMany."""
    if service.draining.is_set():
        raise Problem(503, "the service is about to end; try again soon", headers={"retry-after": "30"})
    if value.pushes and Scope.PUSH not in caller.scopes:
        raise Problem(403, "this token may not do that: it lacks the scope push", "push")
    service.requests.take(caller.account.id)
    try:
        if value.kind != "push":  # which makes nothing that is kept
            service.quotas.check(caller.account)
        number, joined = service.queue.submit(caller.account, value, caller.address)
    except Full as full:
        if full.lasts:  # it does not help to ask again
            raise Problem(400, str(full)) from None
        raise Problem(429, str(full), headers={"retry-after": "60"}) from None
    service.supervisor.wake()
    return Requested(id=number, joined=joined)
