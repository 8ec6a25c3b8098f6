"""What a site must be able to do: a few calls, each all or nothing, each by an id that survives renaming."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cc_images.model import Json

ARCHIVED = re.compile(r"-\d{8}(\.\d+)?\Z")
"""What an archive name has after the image's name: the day of its creation, and a number from the second on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What is to be published: a file, its name on the site, its digest, and what the site shall say about it."""

    name: str
    path: Path
    sha512: str
    size: int
    properties: Mapping[str, str]
    run: str
    visibility: str = ""
    """What it shall be once it is published; empty where there is none."""
    details: Json = field(default_factory=dict)
    """Key, version and provenance, for sites that keep more than properties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An image as a site has it. `replaces` is set on staged ones: the id of the image that it shall replace."""

    id: str
    name: str
    sha512: str
    size: int
    created: datetime
    properties: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    protected: bool = False
    visibility: str = ""
    run: str = ""
    replaces: str = ""
    intended: str = ""
    """On staged ones: the visibility that they shall have."""


class Stop(Protocol):
    """A request to end, such as threading.Event."""

    def is_set(self) -> bool:
        """Say whether the work shall end."""


class ImageSite(Protocol):
    """A site, for images of one project in one format."""

    visibility: str
    """The visibility that published images shall have; empty: that of the image which is replaced, or none at all."""

    def first_visibility(self) -> str:
        """Return the visibility of an image that replaces none; empty where there is none."""

    def exclusive(self, stop: Stop) -> AbstractContextManager[None]:
        """Keep other publishers away from the site, as far as it can. Raises Interrupted once `stop` is set."""

    def find(self, name: str) -> list[Entry]:
        """Return the project's published images that have exactly this name."""

    def staged(self, name: str) -> list[Entry]:
        """Return what earlier runs uploaded for this name and did not publish."""

    def upload(
        self,
        publication: Publication,
        replaces: str,
        *,
        stop: Stop,
        report: Callable[[int], None],
    ) -> Entry:
        """Upload under a private temporary name and return what the site has then; `report` gets bytes so far."""

    def archive(self, entry: Entry, name: str) -> None:
        """Give a published image an archive name."""

    def restore(self, image_id: str, name: str) -> None:
        """Undo `archive`, also a half-done one; an image that is gone is fine."""

    def holds(self, image_id: str, name: str) -> bool:
        """Say whether the image with this id has this name now."""

    def publish(self, staged: Entry, name: str) -> None:
        """Give a staged image its final name, its intended visibility and its properties in one step."""

    def describe(self, entry: Entry, publication: Publication) -> None:
        """Give a published image that has the publication's bytes its properties and visibility, in one step."""

    def archived(self, name: str) -> list[Entry]:
        """Return the archived versions of a name that cc-images made, newest first."""

    def delete(self, entry: Entry) -> None:
        """Remove a staged or an archived image."""

    def address(self, name: str) -> str:
        """Return where a person finds the image."""
