"""The page for a new request: its forms, what a request would do, and the request itself."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from cc_images.model.plan import Plan
from cc_images.model.redaction import without_secrets
from cc_images.web import kinds
from cc_images.web.access import Caller, Problem
from cc_images.web.pages import request_forms
from cc_images.web.pages.frame import Form, Member, Posted, page, redirect
from cc_images.web.routing import submit, the
from cc_images.web.value import BadRequest, Value

router = APIRouter()

ANSWER = 0.3
"""Seconds for which the first form waits for workflows, which a thread of their own fetches."""


@router.get("/new")
def get_new(request: Request, caller: Member) -> Response:
    """Show the form of a kind of request, with what the address says filled in."""
    return _show(request, Form(tuple(request.query_params.multi_items())))


@router.post("/new")
def make(request: Request, caller: Member, form: Posted) -> Response:
    """Take the request that a form makes; with the button `plan` show what it would do."""
    service = the(request)
    kind = _kind(form)
    service.requests.take(caller.account.id)
    try:
        value = kinds.checked(request_forms.body(kind, form), service.catalogue.config)
        if form.has("plan"):
            planned = request.app.state.planner.planned(value, service.catalogue.config, caller.account.id)
            return _show(request, form, planned=planned)
        return _submitted(request, caller, value)
    except BadRequest as bad:
        return _show(request, form, bad.field, bad.message, bad.status)
    except Problem as problem:
        return _show(request, form, problem.field, problem.message, problem.status)


def _submitted(request: Request, caller: Caller, value: Value) -> Response:
    taken = submit(the(request), caller, value)
    return redirect(f"/requests/{taken.id}", "joined" if taken.joined else "requested")


def _kind(form: Form) -> str:
    """Return the kind of request that a form makes: one that there are forms for and that the service knows."""
    known = [each for each in request_forms.FORMS if each in kinds.KINDS]
    return form.one("kind") if form.one("kind") in known else known[0]


def _show(
    request: Request,
    form: Form,
    field: str = "",
    message: str = "",
    status: int = 200,
    planned: Plan | str = "",
) -> Response:
    kind = _kind(form)
    config = the(request).catalogue.config
    place = request_forms.beside(kind, field)
    return page(
        request,
        "new.html",
        status=status,
        kind=kind,
        kinds=[each for each in request_forms.FORMS if each in kinds.KINDS and not request_forms.missing(each, config)],
        missing=request_forms.missing(kind, config),
        proposals=_proposals(request, kind),
        fields=[each for each in request_forms.FORMS[kind] if each.offered(config) or form.one(each.name)],
        config=config,
        form=form,
        errors={place: message} if place else {},
        problem=message if not place else "",
        plan=planned if isinstance(planned, Plan) else None,
        notes=_notes(planned),
        no_plan="" if isinstance(planned, Plan) else planned,
        tasks=_tasks(planned),
    )


def _proposals(request: Request, kind: str) -> dict[str, dict[str, str]]:
    """Return the texts that fields propose; of workflows those that are known by now."""
    if kind != "machine":
        return {}
    return request_forms.proposals(request.app.state.workflows.known(ANSWER) or {})


def _notes(planned: Plan | str) -> list[str]:
    """Return what is to be said of a plan, and what is left out of it."""
    if not isinstance(planned, Plan):
        return []
    return [without_secrets(each) for each in (*planned.notes, *(f"left out: {each}" for each in planned.left_out))]


def _tasks(planned: Plan | str) -> list[tuple[str, bool, str]]:
    """Return the tasks of a plan: the name, whether there is nothing to do, and why."""
    tasks = planned.tasks if isinstance(planned, Plan) else ()
    return [(task.id, task.cached, without_secrets(task.reason)) for task in tasks]
