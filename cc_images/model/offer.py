"""Offers: published images as those who use them see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A site that has an image: the name there, the version, and since when. `cloud` is for an entry of clouds.yaml."""

    site: str
    name: str
    version: str
    since: datetime
    cloud: bool = False
    format: str = ""
    download: str = ""
    """Its file's address on the web, where that is known."""
    security: int = 0
    """Security updates that it lacks, as `check-updates` found when it looked last."""
    checked: datetime | None = None
    """When that was; None: never, or nobody could say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version: its files' sizes (bytes) and digests, how far it booted, and what changed since the one before."""

    version: str
    created: datetime
    packages: int
    boot: str
    files: Sequence[tuple[str, int, str]] = ()
    """Format, size and sha256."""
    before: str = ""
    """The version that it is compared with."""
    changes: Sequence[tuple[str, Sequence[str]]] = ()
    """A heading and its phrases."""
    held: str = ""
    """Why it is not published any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One image for one architecture: where it is, and its versions, the newest first."""

    name: str
    tag: str
    arch: str
    system: str
    places: Sequence[Place]
    releases: Sequence[Release]
    builds_on: str = ""
    eol: date | None = None

    @property
    def updated(self) -> datetime:
        """When it last changed on a site."""
        return max(place.since for place in self.places)
