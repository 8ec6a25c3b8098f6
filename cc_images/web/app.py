"""The application: routes below /api/v1 and, as older clients know them, without it; answers to errors."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from cc_images.api import builders, workflows
from cc_images.errors import CCImagesError, UserError
from cc_images.web import account_routes, administration_routes, build_routes, image_routes, operations
from cc_images.web.access import Problem
from cc_images.web.guard import BODY_SECONDS, Guard
from cc_images.web.recent import Recent
from cc_images.web.service import Service
from cc_images.web.status_route import StatusRoute
from cc_images.web.throttle import TooMany
from cc_images.web.value import mistake

_log = logging.getLogger(__name__)

PREFIX = "/api/v1"

LISTED_AGE = 60.0
"""Seconds for which the workflows of the repository are listed as they were found."""

MOST_FIELD = 100
"""Characters of a field's name that an answer repeats."""

PAGES = "cc_images.web.pages"
"""Package of the pages, loaded when an application is made: the interface needs nothing of it."""

ERROR = {
    "type": "object",
    "required": ["message", "field"],
    "properties": {
        "message": {"type": "string"},
        "field": {"type": "string", "description": "The field at fault; empty: none."},
    },
}

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {"application/json": {"schema": ERROR}}}
    for status, words in {
        400: "The request is wrong.",
        401: "Nobody is logged in.",
        403: "The caller may not do that.",
        404: "There is no such thing, or it is somebody else's.",
        413: "The body is too large.",
        429: "Too often, or too many.",
        503: "The service is about to end, or its store or database does not work.",
    }.items()
}


class App(FastAPI):
    """The application. Wrong requests are answered by 400."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, without the status for wrong requests that is not used."""
        document = super().openapi()
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document.get("components", {}).get("schemas", {}).pop(name, None)
        document["components"]["securitySchemes"] = {
            "password": {"type": "http", "scheme": "basic", "description": "Name, and password or token."},
            "token": {"type": "http", "scheme": "bearer"},
        }
        document["security"] = [{"password": []}, {"token": []}]
        return document


def made(service: Service, body_seconds: float = BODY_SECONDS) -> App:
    """Return the application over a service; `body_seconds`: in which the body of a request must come."""
    pages = importlib.import_module(PAGES)
    app = App(
        routes=_routes(),
        title="cc-images",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_url=f"{PREFIX}/openapi.json",
    )
    figures: dict[tuple[str, str, int], tuple[int, float]] = {}
    app.state.fleet = Recent("the builder hosts", lambda: builders.status(service.catalogue.config))
    app.state.workflows = Recent(
        "the repository of workflows", lambda: workflows.listed(service.catalogue.config), LISTED_AGE
    )
    app.state.service, app.state.gatekeeper, app.state.figures = service, service.gatekeeper, figures
    app.state.pages, app.state.planner = pages, pages.Planner()
    app.add_middleware(StatusRoute, service=service)
    app.add_middleware(Guard, figures=figures, secure=service.secure, seconds=body_seconds)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _wrong)
    app.add_exception_handler(TooMany, _too_many)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(CCImagesError, _failed)
    app.add_exception_handler(SQLAlchemyError, _failed)
    app.add_exception_handler(Exception, _bug)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Return the routes of every application: to make them from their functions' types takes longer than a request."""
    router = APIRouter()
    for each in (build_routes, image_routes, account_routes, operations):
        router.include_router(each.router, prefix=PREFIX, responses=ERRORS)
        router.include_router(each.router, include_in_schema=False)
    router.include_router(
        administration_routes.router, prefix=PREFIX, responses=ERRORS
    )  # older clients know none of it
    for pages in importlib.import_module(PAGES).ROUTERS:
        router.include_router(pages, include_in_schema=False)
    return router.routes


def _answer(
    request: Request, status: int, message: str, field: str = "", headers: dict[str, str] | None = None
) -> Response:
    """Return an error: a page for those who look at pages, else JSON."""
    pages = request.app.state.pages
    if pages.wanted(request, status):
        page: Response = pages.error(request, status, message, headers)
        return page
    return JSONResponse({"message": message, "field": field}, status, headers)


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(request, error.status, error.message, error.field, error.headers)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, error.detail, "", dict(error.headers or {}))


def _wrong(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _answer(
            request, 400, f"the request is no JSON: {_place(error.body, first['loc'])}{first['ctx']['error']}"
        )
    place = [str(each)[:MOST_FIELD] for each in first["loc"]]
    where = ".".join(place[1:] if place[0] in ("body", "query", "path") else place)
    return _answer(request, 400, mistake(first), where)


def _place(body: object, place: Sequence[int | str]) -> str:
    """Return line and column of a mistake in a JSON text, whose place is an offset."""
    if not isinstance(body, str) or not isinstance(place[-1], int):
        return ""
    before = body[: place[-1]]
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}: "


def _too_many(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooMany)
    return _answer(request, 429, str(error), "", {"retry-after": f"{error.wait:.0f}"})


def _user_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, UserError)
    return _answer(request, 400, error.message, getattr(error, "field", ""))


def _bug(request: Request, error: Exception) -> Response:
    """Answer for an error that nobody expected; the server logs its traceback."""
    return _answer(request, 500, "the service has a fault; the operator's log says more")


def _failed(request: Request, error: Exception) -> Response:
    _log.error("%s: %s", type(error).__name__, error)
    return _answer(request, 503, "the store or a builder does not work; the operator's log says more")
