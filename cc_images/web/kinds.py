"""Kinds of requests, and how each is checked; `commands` has how it is carried out.

A request is a JSON object. Its kind is known by fields that no other kind has. A checked request
is a `Value`: canonical, so that identical requests are equal.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cc_images.config.loader import Config
from cc_images.model.catalog import Arch, Json
from cc_images.web import machine_requests
from cc_images.web.value import BadRequest, Value, mistake

__all__ = ["KINDS", "BadRequest", "Kind", "checked", "push_of", "schema"]


LONGEST_FIELD = 200
"""Characters of a field's name that are said: it is the caller's own word where no request has it."""


class ImagesRequest(BaseModel):
    """Build images of the catalogue, and push them if that is said."""

    model_config = ConfigDict(extra="forbid", strict=True, title="ImagesRequest")

    images: list[str] = Field(min_length=1, max_length=100, description="Tags or names of images of the catalogue.")
    architectures: list[str] = Field(
        default=[], max_length=4, description="Architectures; by default all that an image supports."
    )
    push: bool = Field(default=False, description="Publish on the sites of the service, too.")
    force: bool = Field(default=False, description="Build again even if nothing has changed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of requests. `fields` tell it from the others; without any nobody can send it from outside."""

    fields: tuple[str, ...]
    model: type[BaseModel] | None
    check: Callable[[Any, Config], Json]
    """Returns the canonical content of a request, or raises BadRequest."""
    tags: tuple[str, ...] = ()
    """Words in the places of mistakes that are no fields: the kinds of values that a field may have."""


def checked(body: object, config: Config) -> Value:
    """Return a request as a value. Raises BadRequest."""
    if isinstance(body, bytes):
        raise BadRequest("", "the request is no JSON: it needs the header content-type: application/json")
    if not isinstance(body, dict):
        raise BadRequest("", "the request is no JSON object")
    name = next((each for each, kind in KINDS.items() if not body.keys().isdisjoint(kind.fields)), "images")
    kind = KINDS[name]
    assert kind.model is not None
    try:
        said = kind.model.model_validate(machine_requests.normal(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = [str(each) for number, each in enumerate(first["loc"]) if not (number == 1 and each in kind.tags)]
        raise BadRequest(".".join(place)[:LONGEST_FIELD], mistake(first)) from None
    return Value(kind=name, content=kind.check(said, config))


def schema() -> Json:
    """Return the schema of all requests that can be sent."""
    return {"anyOf": [_whole(kind.model.model_json_schema()) for kind in KINDS.values() if kind.model]}


def _whole(model: Json) -> Json:
    """Return a schema with the definitions that it refers to in their places."""
    definitions = model.pop("$defs", {})

    def put(said: Any) -> Any:
        if isinstance(said, list):
            return [put(each) for each in said]
        if not isinstance(said, dict):
            return said
        if "$ref" in said:
            return put(definitions[said["$ref"].rpartition("/")[2]])
        return {key: put(value) for key, value in said.items()}

    whole: Json = put(model)
    return whole


def push_of(tag: str, arch: str, version: str) -> Value:
    """Return the request to publish a stored version."""
    return Value(kind="push", content={"images": [tag], "architectures": [arch], "version": version, "push": True})


def _images(said: ImagesRequest, config: Config) -> Json:
    tags: list[str] = []
    for number, word in enumerate(said.images):
        image = config.images.get(word.lower())
        if image is None:
            raise BadRequest(f"images.{number}", f"the catalogue has no image {word[:128]!r}{_meant(word, config)}")
        if image.abstract:
            raise BadRequest(f"images.{number}", f"{image.tag} is abstract: other images build on it")
        tags.append(image.tag)
    for number, arch in enumerate(said.architectures):
        if arch not in {each.value for each in Arch}:
            raise BadRequest(f"architectures.{number}", f"one of {', '.join(each.value for each in Arch)}")
        lacking = next((tag for tag in tags if arch not in config.images[tag].arches), None)
        if lacking is not None:
            raise BadRequest(f"architectures.{number}", f"{lacking} is not made for {arch}")
    return {
        "images": sorted(set(tags)),
        "architectures": sorted(set(said.architectures)),
        "push": said.push,
        "force": said.force,
    }


def _meant(word: str, config: Config) -> str:
    """Return the question whether the image of a similar tag was meant; empty: there is none."""
    tags = [each.tag for each in config.images.values() if not each.abstract]
    near = difflib.get_close_matches(word[:128].lower(), tags, n=1)
    return f"; did you mean {near[0]}?" if near else ""


KINDS: Mapping[str, Kind] = {
    "images": Kind(fields=("images",), model=ImagesRequest, check=_images),
    "machine": Kind(
        fields=("machine", "workflow", "step_id"),
        model=machine_requests.MachineRequest,
        check=machine_requests.check,
        tags=machine_requests.TAGS,
    ),
    "push": Kind(fields=(), model=None, check=lambda said, config: {}),
}
"""All kinds by name. A new one is a row here, and one of `commands`."""
