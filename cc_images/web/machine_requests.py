"""Requests for machines: a step of a workflow as an image for a machine, as `cc-images build-request` takes them.

What a request may say is decided by `config.requests`, as for files; the model here describes it for programs, and
holds types. A request is complete when it is taken: machines are written out, and with them the state of the step's
description, so that requests before and after a change of it are two.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from cc_images.api import workflows
from cc_images.config.loader import Config
from cc_images.config.requests import LONGEST_PATH, image_name, mapping_of, request_of
from cc_images.config.strict import WrongFile
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model import request as naming
from cc_images.model import targets
from cc_images.model.catalog import Json, published_name
from cc_images.model.machine import ENGINES, USUAL_BASE, USUAL_BUILDER, Machine
from cc_images.model.plain_text import brief
from cc_images.web.value import BadRequest

AT_ONCE = 4
"""Repositories that are asked at a time."""

PATIENCE = 10.0
"""Seconds for which a request waits for its turn to ask."""

ANSWER = 20.0
"""Seconds in which a repository must answer."""

_asking = threading.BoundedSemaphore(AT_ONCE)


def _pattern(pattern: re.Pattern[str]) -> str:
    """Return a pattern as JSON Schema has it."""
    return "^" + pattern.pattern.replace(r"\Z", "$")


class MachineDescription(BaseModel):
    """A machine."""

    model_config = ConfigDict(extra="forbid", strict=True)

    platform: str = Field(json_schema_extra={"enum": [*targets.FAMILIES]})
    architecture: str = Field(
        description="The processor, as Spack names it or by its code name; of the platform's family.",
        json_schema_extra={"enum": [*targets.KNOWN]},
    )
    container_engine: str = Field(json_schema_extra={"enum": [*ENGINES]})
    mpi: str | None = Field(default=None, description="NAME or NAME@VERSION, such as openmpi@4; empty: none.")
    gpu: str | None = Field(default=None, description="NAME or NAME@VERSION, such as cuda@12; empty: none.")
    base: str | None = Field(default=None, description="The image of the catalogue that all is put upon.")
    spack_builder: str | None = Field(
        default=None, alias="spack-builder", description="The image of the catalogue in which Spack compiles."
    )


TAGS = ("a name", "a mapping")
"""The two kinds of values of `machine`."""


def _kind(said: object) -> str:
    return TAGS[isinstance(said, dict | MachineDescription)]


class MachineRequest(BaseModel):
    """Build the image of a workflow's step for a machine."""

    model_config = ConfigDict(extra="forbid", strict=True, title="MachineRequest")

    machine: Annotated[
        Annotated[str, Tag(TAGS[0])] | Annotated[MachineDescription, Tag(TAGS[1])], Discriminator(_kind)
    ] = Field(description="A machine, or the name of one of GET /machines.")
    workflow: str = Field(
        description="BASE, as workflow and step: the base image for the machine.",
        json_schema_extra={"pattern": _pattern(naming.WORD), "maxLength": naming.LONGEST_WORD},
    )
    step_id: str = Field(json_schema_extra={"pattern": _pattern(naming.WORD), "maxLength": naming.LONGEST_WORD})
    version: str | None = Field(
        default=None,
        description="A tag, branch or commit of the repository of workflows; default: latest.",
        json_schema_extra={"pattern": _pattern(naming.VERSION), "maxLength": naming.LONGEST_WORD},
    )
    path: str | None = Field(
        default=None,
        description="A folder of the server that describes the step, below one of those that it serves.",
        json_schema_extra={"maxLength": LONGEST_PATH},
    )
    force: bool = Field(default=False, description="Build again even if nothing has changed.")
    push: bool | None = Field(default=None, description="Publish on the sites of the service, too.")


def normal(body: Json) -> Json:
    """Return a request with one of the two spellings of `container_engine`, if it has the other alone."""
    machine = body.get("machine")
    if not isinstance(machine, dict) or "container-engine" not in machine or "container_engine" in machine:
        return body
    return body | {"machine": {{"container-engine": "container_engine"}.get(key, key): machine[key] for key in machine}}


def check(said: MachineRequest, config: Config) -> Json:
    """Return the canonical content of a request. Raises BadRequest."""
    plain = said.model_dump(by_alias=True, exclude_none=True)
    _require_letters(plain)
    if path := plain.get("path"):
        plain["path"] = _served(path, config)
    try:
        asked = request_of(plain, config.machines, Path("/"))
    except WrongFile as wrong:
        raise BadRequest(wrong.field.replace("container-engine", "container_engine"), wrong.words) from None
    if isinstance(said.machine, MachineDescription):
        _require_images(asked.machine, config)
    if not (asked.is_base or asked.path or config.workflows.repo):
        field = "path" if config.workflows.served else "workflow"
        raise BadRequest(field, "this service has no repository of workflows")
    try:
        name = image_name(asked, config.workflows.prefix, config.images)
    except UserError as error:
        raise BadRequest("workflow", error.message) from None
    content = mapping_of(asked) | {"push": bool(asked.push)}
    content["image_id"] = naming.identifier(published_name(name, asked.machine.arch), asked)
    return content | _standing(asked, config)


def _require_letters(said: Json, place: str = "") -> None:
    """Raise BadRequest for a text with half a character, of which JSON has some."""
    for key, value in said.items():
        if isinstance(value, dict):
            _require_letters(value, f"{place}{key}.")
        elif isinstance(value, str) and any("\ud800" <= each <= "\udfff" for each in value):
            raise BadRequest(f"{place}{key}", f"{brief(value)} has half a character")


def _require_images(machine: Machine, config: Config) -> None:
    """Raise BadRequest where a machine names an image of its own that the catalogue does not have."""
    named = {"base": (machine.base, USUAL_BASE), "spack-builder": (machine.builder, USUAL_BUILDER)}
    for key, (tag, usual) in named.items():
        if tag not in config.images and tag != usual:
            raise BadRequest(f"machine.{key}", f"the catalogue has no image {brief(tag)}")


def _served(path: str, config: Config) -> str:
    """Return a folder of the server by its whole path. What is elsewhere is as if it were not there."""
    found = workflows.served(path, config.workflows) if len(path) <= LONGEST_PATH and path.isprintable() else None
    if found is None:
        raise BadRequest("path", "there is no such folder below those that this service offers for requests")
    return str(found)


def _standing(asked: naming.ImageRequest, config: Config) -> dict[str, str]:
    """Return by what the step's description is known now. Raises BadRequest."""
    asks = not (asked.is_base or asked.path)
    if asks and not _asking.acquire(timeout=PATIENCE):
        raise BadRequest("", "too many ask the repository of workflows; try again soon", status=503)
    try:
        return workflows.standing(asked, config, ANSWER)
    except UserError as error:
        raise BadRequest("version" if error.reason is Reason.VALUE else "path", error.message) from None
    except CCImagesError:
        raise BadRequest("", "the repository of workflows does not answer; try again later", status=503) from None
    finally:
        if asks:
            _asking.release()
