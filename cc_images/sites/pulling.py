"""Pulls: what becomes of one name on a site that follows a catalogue. Pure.

A site is brought to the version that the catalogue has in force, forwards and back; a version that it has archived
comes from there. What people or other hosts have done on the site stands, as for any publication.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cc_images.sites.entry import Entry
from cc_images.sites.rollbacks import older
from cc_images.sites.view import View, published_by_us, version_of

PULLED = "build-pulled"
"""The property of an image that came from a catalogue: its place there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The version that a catalogue names."""

    version: str
    sha512: str
    size: int

    def is_in(self, entry: Entry) -> bool:
        """Say whether an image of a site has the bytes of the version."""
        same = entry.sha512 == self.sha512 if entry.algorithm == "sha512" else False
        versions = version_of(entry.properties) == self.version != ""
        return entry.made and entry.size == self.size and (same or versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way to a version: none if the site `has` it or something `stays`; `back` from the archive; or it is sent."""

    has: bool = False
    stays: str = ""
    back: Entry | None = None
    """The archived image that is brought back."""
    by_us: bool = False
    """Whether a run of this store has published what is there, so that it can be no person's change."""


def way_to(named: Named, view: View, ours: Callable[[str], bool]) -> Way:
    """Return how a site gets what the catalogue names; `ours` tells the runs of this store."""
    holder = view.holder
    if holder is not None and named.is_in(holder):
        return Way(has=True)
    if why := _stands(named, view, ours):
        return Way(stays=why)
    back = next((entry for entry in _kept(named, view) if entry.status == "active"), None)
    return Way(back=back, by_us=_is_by_us(view, ours))


def _is_by_us(view: View, ours: Callable[[str], bool]) -> bool:
    """Say whether a run of this store has published what has the name, or was killed while it did that."""
    if view.holder is not None:
        return published_by_us(view.holder) and ours(view.holder.run)
    return any(view.predecessor(entry) is not None and ours(entry.run) for entry in view.staged)


def _stands(named: Named, view: View, ours: Callable[[str], bool]) -> str:
    """Return why what a site has stays although the catalogue has something else."""
    holder = view.holder
    if holder is None:
        return ""
    kept = next(iter(_kept(named, view)), None)
    by_us = ours(holder.run)  # an earlier pull that followed the catalogue back
    if kept is not None and holder.recalled and not by_us and older(holder, kept):
        return "it was rolled back here, and stays so until there is a newer version"
    if kept is not None and (not holder.made or holder.archives):
        return "somebody gave another image the name, and it stays so until there is a newer version"
    if kept is None and PULLED not in holder.properties and version_of(holder.properties) > named.version:
        return f"left out: it has {version_of(holder.properties)}, which is newer, and not from this catalogue"
    return ""


def _kept(named: Named, view: View) -> list[Entry]:
    """Return the archived images of the version, also those that a killed run has taken from the archive."""
    return [entry for entry in (*view.archived, *view.staged) if entry.complete and named.is_in(entry)
            and (entry.archives or entry.recalled)]  # fmt: skip
