"""Images as a site has them, with the marks that cc-images leaves on them, and the names that these have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count

ARCHIVED = re.compile(r"-\d{8}(\.\d+)?\Z")
"""The ending of an archive name after the image's name: the day of its creation, and a number from the second on."""

MARK = 32
"""Characters of a digest that name a successor."""


RETIRED, ENDED = "build-retired", "build-end-of-life"
"""Properties that say which step of retirement a version has been through and when, and when an image's life ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An image as a site has it, with the marks that cc-images has left on it.

    `made` says that cc-images made it. While it is staged, `target` is the name that it shall have. From its upload on,
    `replaces` is the id of the image that had the name then. Once published, `turn` counts the publications before it
    that its push knew: two with one turn knew nothing of each other.
    Once archived, `archives` is the name that it had, and `successor` the beginning of the digest that replaced it; one
    that was given its name back keeps the latter.
    """

    id: str
    name: str
    sha512: str
    """The digest by `algorithm`; empty where the site does not know it."""
    size: int
    created: datetime
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)
    algorithm: str = "sha512"
    status: str = "active"
    """One of Glance's; `active` and `deactivated` have all their bytes."""
    disk_format: str = ""
    hidden: bool = False
    protected: bool = False
    visibility: str = ""
    owner: str = ""
    """The project that has it, where a site says so."""
    tags: frozenset[str] = frozenset()
    """Those that people gave it."""
    made: bool = False
    made_for: str = ""
    """The name that it was made for, where the site keeps that apart from its marks."""
    run: str = ""
    target: str = ""
    replaces: str = ""
    turn: int = 0
    archives: str = ""
    successor: str = ""
    intended: str = ""
    """On staged ones: the visibility that they shall have."""
    displaced: str = ""
    """The digest of an image of ours that a person has replaced by this one."""
    recalled: bool = False
    """Whether it came back from the archive: on a staged one, that it goes there again if it does not get the name."""
    owes: bool = False
    """Whether it is to be shared yet with those that the image before it was shared with."""
    lent: bool = False
    """Whether it is protected, or was until it was archived, only because the image that it replaced was."""

    @property
    def complete(self) -> bool:
        """Whether it has all its bytes."""
        return self.status in ("active", "deactivated")


def in_service(entry: Entry) -> Entry:
    """Return an image as it was before it retired."""
    if RETIRED not in entry.properties:
        return entry
    kept = {name: value for name, value in entry.properties.items() if name != RETIRED}
    return replace(entry, hidden=False, properties=kept)


def staged_name(name: str, run: str) -> str:
    """Return the temporary name of an image."""
    return f"{name}.{run}.staged"


def mark(digest: str) -> str:
    """Return how a successor is marked."""
    return digest[:MARK]


def archive_names(entry: Entry) -> Iterator[str]:
    """Return the archive names that an image may get, the first one first: by the day of its creation (UTC)."""
    base = f"{entry.name}-{entry.created:%Y%m%d}"
    yield base
    yield from (f"{base}.{number}" for number in count(1))


def has_archive_name(entry: Entry, name: str) -> bool:
    """Say whether an image has an archive name of this name, for the day on which it was created."""
    rest = entry.name.removeprefix(name)
    return rest != entry.name and bool(ARCHIVED.fullmatch(rest)) and rest[1:9] == f"{entry.created:%Y%m%d}"


def is_archived(entry: Entry, name: str) -> bool:
    """Say whether cc-images archived an image, and nobody has given it another name since."""
    return entry.made and entry.archives == name and has_archive_name(entry, name)


def has_staged_name(entry: Entry, name: str) -> bool:
    """Say whether an image has the name of an upload for this name."""
    return entry.name.startswith(f"{name}.") and entry.name.endswith(".staged")


def concerns(entry: Entry, name: str) -> bool:
    """Say whether an image has a name, an archive name or a temporary name of it, or a mark for it."""
    marked = name in (entry.target, entry.archives, entry.made_for)
    return marked or entry.name == name or has_archive_name(entry, name) or has_staged_name(entry, name)
