"""Gates: whether a version may go on from one wave of sites to the next, by what the sites have. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cc_images.model.catalog import Format
from cc_images.model.status import Hold
from cc_images.sites.view import View, version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Whether a version may go on: `closed` says why not, and `ask` which sites' health decides."""

    closed: str = ""
    ask: tuple[str, ...] = ()


def passage(version: str, own: View, before: Mapping[tuple[str, Format], View]) -> Passage:
    """Return whether a site that has `own` may get a version, given what each of the wave before has.

    A person who has rolled one of them back, or hidden its image, stops the version there.
    """
    has = version_of(own.holder.properties) if own.holder is not None else ""
    if has == version:
        return Passage()
    if has > version:
        return Passage(closed=f"it has version {has}, which is newer than {version}")
    for (site, _), view in before.items():
        if wrong := _lacks(version, view):
            return Passage(closed=f"{site} {wrong}")
    return Passage(ask=tuple(dict.fromkeys(site for site, _ in before)))


def to_take_back(has: str, version: str, waits: str, holds: Mapping[str, Hold]) -> Hold | None:
    """Return the hold of what a site has, where that was found bad elsewhere and is to go.

    It stays for a moment where a newer version that nobody holds is about to replace it.
    """
    hold = holds.get(has)
    if hold is None or not hold.back or hold.released:
        return None
    own = holds.get(version)
    replaced = not waits and version > hold.version and (own is None or own.released)
    return None if replaced else hold


def _lacks(version: str, view: View) -> str:
    if len(view.holders) > 1:
        return f"has {len(view.holders)} images of the name"
    if view.holder is None:
        return "has no image of the name"
    has = version_of(view.holder.properties) or f"image {view.holder.id}"
    if has != version:
        return f"has {has}, not {version}"
    if view.holder.status != "active" or view.holder.hidden:
        return f"has {version}, but somebody has hidden or deactivated it"
    return ""
