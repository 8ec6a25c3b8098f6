"""The interface of a site: observe what is there, and take one step, by ids that survive renaming.

Owns the values that pass between a site and `reconcile`, which decides: images as a site has them, and steps. An image
carries its own record (its marks), so that any host can tell whose it is and what was going on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Json
from cc_images.model.stop import Stop
from cc_images.sites.entry import ARCHIVED, Entry, in_service, staged_name


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
    bills: Mapping[str, str] = field(default_factory=dict)
    """Bills of materials by form, see `model.bill_forms`, for sites that are folders."""

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
    """Give a staged image its name and intended visibility, and with `carry` what others did to the image before it."""

    entry: Entry
    before: Entry | None
    turn: int
    carry: bool = True
    hides: bool = True
    """Whether it is hidden if the image before it was."""
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Give an archived image its name back."""

    entry: Entry
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Give an archived image a temporary name and the marks of an upload: it is to have its name again."""

    entry: Entry
    target: str
    run: str
    replaces: str
    visibility: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Give a recalled image an archive name again."""

    entry: Entry
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Take the marks of a staged or archived image from one that has its name."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """Give an image of ours other properties, tags, or another visibility: what differs in `wanted`."""

    entry: Entry
    wanted: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Give:
    """Give a staged image to another project."""

    entry: Entry
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Share an image with a project."""

    entry: Entry
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Remove a staged or archived image, if it is still as it was seen."""

    entry: Entry


class Broken(CCImagesError):
    """An upload that ended before all bytes had left: the site cannot have them, however long one waits."""


Act = Upload | Archive | Publish | Restore | Recall | Return | Settle | Describe | Give | Share | Delete


def after(step: Archive | Publish | Restore | Recall | Return | Settle | Describe | Give | Share) -> Entry:
    """Return an image as it is after a step that changes its name or marks."""
    entry = step.entry
    match step:
        case Archive():
            archives = ARCHIVED.sub("", step.name) if entry.made else ""
            # one that was archived before, and has the name again, was protected by a person since
            protected = entry.protected and (not entry.lent or bool(entry.archives))
            lent = entry.lent and entry.protected  # a person may have taken the protection away
            return replace(entry, name=step.name, target="", archives=archives, protected=protected, lent=lent,
                           successor=step.successor if entry.made else "")  # fmt: skip
        case Publish(before=before):
            carried = before if step.carry else None
            given = carried.tags if carried is not None else frozenset()
            visibility = entry.intended or entry.visibility
            lent = before is not None and (before.protected or before.lent) and not entry.protected
            return replace(
                entry,
                name=entry.target,
                target="",
                turn=step.turn,
                visibility=visibility,
                intended="",
                hidden=entry.hidden or (step.hides and carried is not None and carried.hidden),
                owes=carried is not None and carried.visibility == visibility == "shared",
                replaces=before.id if before is not None else "",
                successor="",
                tags=entry.tags | given | step.tags,
                protected=entry.protected or lent,
                lent=lent,
            )
        case Restore():
            return replace(entry, name=step.name, archives="", protected=entry.protected or entry.lent)
        case Describe():
            return step.wanted
        case Give():
            return replace(entry, owner=step.owner)
        case Share():
            return entry
        case Recall():
            entry = in_service(entry)
            return replace(entry, name=staged_name(step.target, step.run), target=step.target, run=step.run,
                           replaces=step.replaces, intended=step.visibility, archives="", recalled=True)  # fmt: skip
        case Return():
            return replace(entry, name=step.name, target="", intended="", archives=entry.target)
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

    shares: bool
    """Whether images are shared with projects one by one."""

    def members(self, entry: Entry) -> frozenset[str]:
        """Return the projects that an image is shared with; none where `shares` is false, as with `Queries`."""

    def users(self, entry: Entry) -> int | None:
        """Return how many servers use an image, of all projects; None if nobody can say. Comes with `Queries`."""

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

    def shown(self, archived: str) -> str:
        """Return how the site itself names an archived version, for people."""

    def refusal(self, name: str, properties: Mapping[str, str], publication: Publication | None) -> str:
        """Return why the site would refuse a push that is planned; empty if nothing is known against it.

        `publication` is None while the image is not built.
        """

    def observe_each(self, names: Sequence[str]) -> dict[str, list[Entry]]:
        """Return what `observe` says of each of several names; like the next three, it comes with `Queries`."""

    def find(self, name: str) -> list[Entry]:
        """Return the published images with this name."""

    def staged(self, name: str) -> list[Entry]:
        """Return uploads for this name that were not published."""

    def archived(self, name: str) -> list[Entry]:
        """Return the archived versions of a name that cc-images made, newest first."""
