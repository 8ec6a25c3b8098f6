"""Shapes of the answers of a service, as far as the client reads them."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from cc_images.errors import CCImagesError, Reason

T = TypeVar("T")


class Requested(msgspec.Struct, frozen=True):
    """A request that was taken."""

    id: str
    joined: bool = False


class Made(msgspec.Struct, frozen=True):
    """A version of an image that a build has made or found, and its files."""

    image: str
    architecture: str
    version: str
    files: list[str] = []


class Build(msgspec.Struct, frozen=True):
    """How a build stands."""

    id: str
    status: str
    message: str = ""
    kind: str = ""
    request: dict[str, Any] = {}
    requested: str = ""
    ended: str | None = None
    images: list[Made] = []
    queue_position: int | None = None
    estimate: float | None = None
    exit_code: int | None = None
    tasks: dict[str, str] = {}
    log_tail: list[str] = []
    requesters: list[str] | None = None


class File(msgspec.Struct, frozen=True):
    """A file of an image in the store of the service."""

    file: str
    image: str
    architecture: str
    version: str
    size: int


class Entry(msgspec.Struct, frozen=True):
    """An image that can be requested."""

    image: str
    name: str
    architectures: list[str]
    builds_on: str | None = None


class Done(msgspec.Struct, frozen=True):
    """What became of a request to change something."""

    done: str


def read(said: object, shape: type[T]) -> T:
    """Return an answer in its shape. Raises CCImagesError."""
    try:
        return msgspec.convert(said, shape)
    except msgspec.ValidationError as error:
        raise CCImagesError(
            f"the service answers in a way that is not understood: {error}",
            hint="is it the address of a service of cc-images, and of the same version?", reason=Reason.UNREACHABLE,
        ) from None  # fmt: skip
