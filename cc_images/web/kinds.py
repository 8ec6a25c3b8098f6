"""Kinds of requests: how each is checked, and the words of the command line that carry it out.

A request is a JSON object. The kind to which it belongs is told by one field that no other kind has. A checked request
is a `Value`: canonical, so that identical requests are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cc_images.config.loader import Config
from cc_images.model.catalog import Arch, Json
from cc_images.web.value import Value


class BadRequest(Exception):
    """A request that cannot be done; `field` names what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


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
    """A kind of requests. `field` tells it from the others; without one nobody can send it from outside."""

    field: str
    model: type[BaseModel] | None
    check: Callable[[Any, Config], Json]
    """Returns the canonical content of a request, or raises BadRequest."""
    words: Callable[[Json], list[str]]
    """Returns the words of the command line."""


def checked(body: object, config: Config) -> Value:
    """Return a request as a value. Raises BadRequest."""
    if not isinstance(body, dict):
        raise BadRequest("", "the request is no JSON object")
    name = next((each for each, kind in KINDS.items() if kind.field and kind.field in body), "images")
    kind = KINDS[name]
    assert kind.model is not None
    try:
        said = kind.model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadRequest(".".join(str(each)[:100] for each in first["loc"]), first["msg"]) from None
    return Value(kind=name, content=kind.check(said, config))


def words(value: Value) -> list[str]:
    """Return the words of the command line that carry out a request."""
    return KINDS[value.kind].words(value.content)


def push_of(tag: str, arch: str, version: str) -> Value:
    """Return the request to publish a stored version."""
    return Value(kind="push", content={"images": [tag], "architectures": [arch], "version": version, "push": True})


def _images(said: ImagesRequest, config: Config) -> Json:
    tags: list[str] = []
    for number, word in enumerate(said.images):
        image = config.images.get(word.lower())
        if image is None:
            raise BadRequest(f"images.{number}", f"the catalogue has no image {word[:128]!r}")
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


def _words_of_images(content: Json) -> list[str]:
    arches = ["-a", ",".join(content["architectures"])] if content["architectures"] else []
    flags = [*(["-p"] if content["push"] else []), *(["-f"] if content["force"] else [])]
    return ["-b", "-v", *flags, *arches, *content["images"]]


def _words_of_push(content: Json) -> list[str]:
    return ["-p", "-v", "--version", content["version"], "-a", *content["architectures"], *content["images"]]


KINDS: Mapping[str, Kind] = {
    "images": Kind(field="images", model=ImagesRequest, check=_images, words=_words_of_images),
    "push": Kind(field="", model=None, check=lambda said, config: {}, words=_words_of_push),
}
"""All kinds by name. A new one, such as that of machines, is a row here."""
