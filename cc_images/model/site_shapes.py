"""Shapes of what is recorded about sites: descriptions beside images, publications, and holds; see `record_shapes`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType, field

from cc_images.model.record_shapes import Count, Digest, Shape


class SidecarShape(Shape):
    """`<Name>.json` beside an image in a folder that is a site, whose own `format` is the disk's."""

    id: str = ""
    name: str = ""
    sha512: str = ""
    size: Count = 0
    run: str = ""
    replaces: str = ""
    archives: str = ""
    turn: Count = 0
    successor: str = ""
    recalled: bool = False
    published: datetime | UnsetType = UNSET
    inode: Count = 0
    modified: int = 0
    """The file's time of change in nanoseconds since 1970, when the description was written."""
    properties: dict[str, str] = field(default_factory=dict)
    raw_sha256: str = ""
    """Of an image that is kept as chunks: the digest and size of its raw disk, and of the index file."""
    raw_size: Count = 0
    index_sha512: str = ""
    index_size: Count = 0
    bills: dict[str, Digest] | UnsetType = UNSET
    """The digests of the image's bills of materials by form; see `sites.bills`."""


class ManifestOfVersionShape(Shape):
    """`manifest.json` of a version in a catalogue; without `sha512` its image is not there yet."""

    id: str
    name: str
    published: datetime
    run: str = ""
    target: str = ""
    replaces: str = ""
    turn: Count = 0
    successor: str = ""
    recalled: bool = False
    archived: bool = False
    removed: bool = False
    """Whether its removal has begun, where that takes more than one call."""
    size: Count = 0
    sha256: str = ""
    sha512: str = ""
    disk_format: str = ""
    arch: str = ""
    version: str = ""
    properties: dict[str, str] = field(default_factory=dict)


class VersionInRegistryShape(ManifestOfVersionShape):
    """What cc-images knows of a version in a registry; without `sha512` its bytes are not there yet."""

    digest: str = ""
    """The digest of its manifest."""
    tags: list[str] = field(default_factory=list)
    """The tags that it keeps, besides those that move."""
    archive: str = ""
    """The archive name of which it has the tag."""
    publishing: bool = False
    """Whether the tag `latest` is just being given to it."""


class PutShape(Shape):
    """One entry of `published.json`; see `status.Put`."""

    site: str
    name: str
    tag: str
    arch: str
    version: str
    since: float
    seen: float
    place: str = ""
    format: str = ""


class PublishedShape(Shape):
    """`published.json`."""

    published: list[PutShape]


class HoldShape(Shape):
    """One entry of `holds.json`; see `status.Hold`."""

    tag: str
    arch: str
    version: str
    since: float
    why: str = ""
    released: bool = False
    back: bool = False


class HoldsShape(Shape):
    """`holds.json`."""

    holds: list[Any]
    """Entries of HoldShape; one that is none does not spoil the others."""


class PendingShape(Shape):
    """One entry of `updates.json`; see `updates.Pending`. `updates` and `security` are counts."""

    site: str
    name: str
    tag: str
    arch: str
    version: str
    checked: float
    updates: Count = 0
    security: Count = 0
    unknown: str = ""


class UpdatesShape(Shape):
    """`updates.json`: what `check-updates` has found last."""

    pending: list[PendingShape]


class SignatureShape(Shape):
    """`signatures/<tag>/<arch>/<version>.json`."""

    statement: str
    signature: str
    key: str
