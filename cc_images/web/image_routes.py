"""Routes of images: what there is, downloads, and publishing a stored version."""

from __future__ import annotations

import base64

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from cc_images.api.stored_images import stored_files
from cc_images.web.access import Problem
from cc_images.web.files import file_response
from cc_images.web.publication import Outdated, found, publication
from cc_images.web.routing import Builder, Reader, Requested, submit, the
from cc_images.web.views import FileView, file_view

router = APIRouter(tags=["images"])

BINARY = "application/binary"

ANSWER = 5.0
"""Seconds for which the first caller waits for what a thread of its own fetches of the repository of workflows."""

UNKNOWN = "there is no such file"


class CatalogueEntry(BaseModel):
    """An image that can be requested."""

    image: str
    name: str
    architectures: list[str]
    builds_on: str | None


class MachineView(BaseModel):
    """A machine that a request may name."""

    name: str
    platform: str
    architecture: str
    container_engine: str
    mpi: str | None
    gpu: str | None


class WorkflowView(BaseModel):
    """A workflow of the repository, and its steps."""

    workflow: str
    steps: list[str]


@router.get("/catalogue")
def get_catalogue(request: Request, caller: Reader) -> list[CatalogueEntry]:
    """List the images that can be requested."""
    return [
        CatalogueEntry(image=each.tag, name=each.name, architectures=[str(arch) for arch in each.arches],
                       builds_on=each.depends[0] if each.depends else None)
        for each in the(request).catalogue.config.images.values()
        if not each.abstract
    ]  # fmt: skip


@router.get("/machines")
def get_machines(request: Request, caller: Reader) -> list[MachineView]:
    """List the machines that a request may name."""
    return [
        MachineView(name=name, platform=each.platform, architecture=each.architecture, container_engine=each.engine,
                    mpi=str(each.mpi or "") or None, gpu=str(each.gpu or "") or None)
        for name, each in the(request).catalogue.config.machines.items()
    ]  # fmt: skip


@router.get("/workflows")
def get_workflows(request: Request, caller: Reader) -> list[WorkflowView]:
    """List the steps of workflows that a request may name, as the repository had them a moment ago."""
    found = request.app.state.workflows.known(ANSWER)
    if found is None:
        raise Problem(503, "the repository of workflows has not answered yet; try again soon",
                      headers={"retry-after": "10"})  # fmt: skip
    return [WorkflowView(workflow=workflow, steps=[*steps]) for workflow, steps in found.items()]


@router.get("/images")
def list_images(request: Request, caller: Reader) -> list[FileView]:
    """List the files of the images that the caller's builds have made or found; for administrators all of the store."""
    service = the(request)
    files = stored_files(service.catalogue.config, service.queue.versions(caller.account))
    return [file_view(each) for each in files]


@router.get("/images/download/{name}", response_class=Response, responses={
    200: {"content": {BINARY: {}}, "description": "The file."},
    206: {"content": {BINARY: {}}, "description": "A part of it."},
    416: {"description": "The range begins behind its end."},
})  # fmt: skip
@router.head("/images/download/{name}", include_in_schema=False)
def download(request: Request, caller: Reader, name: str) -> Response:
    """Return a file of an image, whole or by range; ETag and Repr-Digest are its sha256."""
    service = the(request)
    file = found(service, caller.account, name)
    if file is None:
        raise Problem(404, UNKNOWN)
    digest = base64.b64encode(bytes.fromhex(file.digest)).decode()
    headers = {
        "etag": f'"{file.digest}"',
        "repr-digest": f"sha-256=:{digest}:",
        "content-disposition": f'attachment; filename="{file.file_name}"',
        "cache-control": "private, no-cache",
    }
    try:
        return file_response(file.path, request, headers, BINARY, place=lambda: service.streams.take(caller.account.id))
    except OSError:
        raise Problem(404, UNKNOWN) from None


@router.post("/images/{name}/push", responses={409: {"description": "The version was replaced, or is about to be."}})
def push_image(request: Request, caller: Builder, name: str) -> Requested:
    """Publish the version of a file on the sites of the service."""
    service = the(request)
    service.requests.take(caller.account.id)
    try:
        value = publication(service, caller.account, name)
    except Outdated as outdated:
        raise Problem(409, str(outdated)) from None
    if value is None:
        raise Problem(404, UNKNOWN)
    if not {*value.content["images"]} <= service.catalogue.config.images.keys():
        raise Problem(400, "the image was made by request and is not in the catalogue: request it with push: true")
    return submit(service, caller, value)
