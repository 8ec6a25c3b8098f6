"""The interface of a site: observe what is there, and take one step, by ids that survive renaming.

Owns the values that pass between a site and `reconcile`, which decides: images as a site has them, and steps. An image
carries its own record (its marks), so that any host can tell whose it is and what was going on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Protocol

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Json
from cc_images.model.stop import Stop

ARCHIVED = re.compile(r"-\d{8}(\.\d+)?\Z")
"""The ending of an archive name after the image's name: the day of its creation, and a number from the second on."""

MARK = 32
"""Characters of a digest that name a successor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A file to publish, its name on the site, its digest, and what the site shall say about it."""

    name: str
    path: Path
    sha512: str
    size: int
    properties: Mapping[str, str]
    run: str
    details: Json = field(default_factory=dict)
    """Key, version and provenance, for sites that keep more than properties."""

    def digest(self, algorithm: str) -> str:
        """Return the file's digest (hexadecimal) by a name of hashlib's; empty for an algorithm that it does not know.

        Any but SHA-512 is computed from the file. Raises OSError when that cannot be read.
        """
        if algorithm == "sha512":
            return self.sha512
        if algorithm not in hashlib.algorithms_available:
            return ""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()


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
    lent: bool = False
    """Whether it is protected, or was until it was archived, only because the image that it replaced was."""

    @property
    def complete(self) -> bool:
        """Whether it has all its bytes."""
        return self.status in ("active", "deactivated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Make a private image with this id under a temporary name, or go on with it, and send the file."""

    id: str
    visibility: str
    replaces: str
    entry: Entry | None = None
    """The image, where it is there already and has no bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Give the image that has the name an archive name, with the digest of its successor; our own is marked."""

    entry: Entry
    name: str
    successor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Give a staged image its name and intended visibility, and what people did to the image before it."""

    entry: Entry
    before: Entry | None
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Give an archived image its name back."""

    entry: Entry
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Take the marks of a staged or archived image from one that has its name."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """Give a published image the wanted properties, and a visibility."""

    entry: Entry
    visibility: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Remove a staged or archived image, if it is still as it was seen."""

    entry: Entry


class Broken(CCImagesError):
    """An upload that ended before all bytes had left: the site cannot have them, however long one waits."""


Act = Upload | Archive | Publish | Restore | Settle | Describe | Delete


def after(step: Archive | Publish | Restore | Settle) -> Entry:
    """Return an image as it is after a step that changes its name or marks."""
    entry = step.entry
    match step:
        case Archive():
            archives = ARCHIVED.sub("", step.name) if entry.made else ""
            # one that was archived before, and has the name again, was protected by a person since
            protected = entry.protected and (not entry.lent or bool(entry.archives))
            return replace(entry, name=step.name, target="", archives=archives, protected=protected,
                           successor=step.successor if entry.made else "")  # fmt: skip
        case Publish(before=before):
            given = before.tags if before is not None else frozenset()
            lent = before is not None and (before.protected or before.lent) and not entry.protected
            return replace(
                entry,
                name=entry.target,
                target="",
                turn=step.turn,
                visibility=entry.intended or entry.visibility,
                intended="",
                replaces=before.id if before is not None else "",
                tags=entry.tags | given,
                protected=entry.protected or lent,
                lent=lent,
            )
        case Restore():
            return replace(entry, name=step.name, archives="", protected=entry.protected or entry.lent)
        case Settle():
            return replace(entry, target="", archives="", successor="", intended="",
                           visibility=entry.intended or entry.visibility)  # fmt: skip


class ImageSite(Protocol):
    """A site, for images of one project in one format. A new kind of site writes `observe` and `act`."""

    visibility: str
    """The visibility that published images shall have; empty: that of the image which is replaced, or none at all."""

    disk_format: str
    """The format of its images; empty where a name tells it."""

    vacates: bool
    """Whether a name has no image between two steps of a swap."""

    def place(self) -> str:
        """Return what tells this site from another one that may have its name later: a project, a folder."""

    def first_visibility(self) -> str:
        """Return the visibility of an image that replaces none; empty where there is none."""

    def exclusive(self, stop: Stop) -> AbstractContextManager[None]:
        """Keep other publishers away from the site, as far as it can. Raises Interrupted once `stop` is set."""

    def observe(self, name: str, before: Sequence[Entry] = (), *, lost: bool = False) -> list[Entry]:
        """Return all images that have the name, an archive name of it or our marks for it, hidden ones too.

        With `before`, an earlier answer, only the part that a swap rests upon must be asked again: who has the name or
        is about to. With `lost`, incomplete images that lost their marks are searched for too.
        """

    def act(
        self, step: Act, publication: Publication | None, *, stop: Stop, report: Callable[[int], None]
    ) -> Entry | None:
        """Take one step, once, and return the image as it is then (None: it is gone); `report` gets bytes so far.

        An error means that the answer was not seen, not that nothing happened. It is temporary unless the site refuses.
        """

    def address(self, name: str) -> str:
        """Return where a person finds the image."""

    def observe_each(self, names: Sequence[str]) -> dict[str, list[Entry]]:
        """Return what `observe` says of each of several names; like the next three, it comes with `Queries`."""

    def find(self, name: str) -> list[Entry]:
        """Return the published images with this name."""

    def staged(self, name: str) -> list[Entry]:
        """Return uploads for this name that were not published."""

    def archived(self, name: str) -> list[Entry]:
        """Return the archived versions of a name that cc-images made, newest first."""


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
