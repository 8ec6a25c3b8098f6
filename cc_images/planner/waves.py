"""Waves: which version each site gets now, when sites take new versions one wave after the other. Pure.

A site of the first wave gets the version that serves. One of a later wave gets a version that all sites of the wave
before it have: the one that they get in this run where nothing has to bake, else the one that they have had for long
enough. That one is pushed before anything newer replaces it on the wave before, so that nightly builds, which replace
each other before they have baked further, keep no later wave waiting for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cc_images.model.site import Site
from cc_images.model.status import Hold, Put


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an image: where what was put last, by site, which versions are stored, and which are held."""

    puts: Mapping[str, Put]
    stored: frozenset[str]
    holds: Mapping[str, Hold]
    named: bool = False
    """Whether a person has named the version that serves, which may be older than what a site has."""
    forced: bool = False
    """Whether a person publishes the version that serves in spite of a hold, as who names it does too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one site gets now: a version, or nothing and why it `waits`."""

    site: str
    version: str = ""
    before: tuple[str, ...] = ()
    """The sites of the wave before, which must have the version when this one gets it."""
    ahead: bool = False
    """Whether it goes before what the wave before gets in this run."""
    waits: str = ""


def turns(sites: Sequence[Site], serving: str, known: Known, *, now: datetime, promote: bool = False) -> list[Turn]:
    """Return the turn of each site that takes an image, in the order of the waves, given the version that serves.

    With `promote` a person lets the next wave have what the wave before has, whether it has baked or not.
    """
    found: list[Turn] = []
    earlier: list[Turn] = []
    for wave in sorted({site.wave for site in sites}):
        these = [_turn(site, serving, earlier, known, now, promote) for site in sites if site.wave == wave]
        found += these
        earlier = these
    return found


def _turn(site: Site, serving: str, earlier: Sequence[Turn], known: Known, now: datetime, promote: bool) -> Turn:
    before = tuple(each.site for each in earlier)
    if not before:
        return Turn(site=site.name, version=serving)
    if site.bake or promote:
        version, waits = _baked(site, before, known, now, promote)
    else:
        version, waits = _same_as(earlier)
    has = known.puts[site.name].version if site.name in known.puts else ""
    if known.named and not waits and version != serving:
        waits = f"{', '.join(before)} has version {version}, not {serving}"
    waits = waits or _unfit(version, serving, has, known)
    if waits:
        return Turn(site=site.name, before=before, waits=waits)
    return Turn(site=site.name, version=version, before=before, ahead=bool(site.bake or promote))


def _baked(site: Site, before: Sequence[str], known: Known, now: datetime, promote: bool) -> tuple[str, str]:
    """Return the version that has baked on the wave before, or why there is none."""
    there = {name: known.puts[name] for name in before if name in known.puts}
    if missing := [name for name in before if name not in there]:
        return "", f"nothing is known to be on {', '.join(missing)}"
    versions = {put.version for put in there.values()}
    if len(versions) > 1:
        return "", f"{', '.join(before)} have different versions: {', '.join(sorted(versions))}"
    (version,) = versions
    has = known.puts.get(site.name)
    due = datetime.fromtimestamp(max(put.since for put in there.values()), UTC) + timedelta(seconds=site.bake)
    if promote or now >= due or (has is not None and has.version == version):
        return version, ""
    return "", f"version {version} bakes on {', '.join(before)} until {due:%Y-%m-%d %H:%M} UTC"


def _same_as(earlier: Sequence[Turn]) -> tuple[str, str]:
    """Return the version that the wave before gets in this run, or why there is none."""
    if waiting := [each for each in earlier if each.waits]:
        return "", f"{', '.join(each.site for each in waiting)} waits as well"
    versions = {each.version for each in earlier}
    if len(versions) > 1:
        return "", f"{', '.join(each.site for each in earlier)} get different versions"
    return versions.pop(), ""


def _unfit(version: str, serving: str, has: str, known: Known) -> str:
    """Return why a version may not go on to a site that `has` one."""
    hold = known.holds.get(version)
    meant = version == serving and (known.named or known.forced)
    if hold is not None and not (hold.released or meant):
        return f"version {version} is held: {hold.why}"
    if has > version and not (known.named and version == serving):
        return f"it has version {has}, which is newer than {version}"
    if version != serving and version not in known.stored:
        return f"version {version} is not in the store any more"
    return ""
