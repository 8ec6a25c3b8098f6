"""What people put on the image that has a name, in the simulated site of `worlds`, and what must become of it.

`Stood` says what the image with the name must have once everything has calmed. A deed changes one aspect of it. Where a
host swaps without having seen the deed, or the site refuses a step, nobody can say, and the aspect is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

from cc_images.sites.base import Act, Archive, Describe, Give, Publish, Share
from cc_images.sites.carrying import listed, set_by_others
from cc_images.sites.entry import Entry, is_archived
from cc_images.sites.glance import FIELDS
from cc_images.sites.image_api import tags

Members = frozenset[tuple[str, str]]
"""Images with projects that they are shared with."""

ASPECTS = ("tags", "properties", "members", "owner", "visibility", "protected", "hidden")


@dataclass(frozen=True, slots=True)
class Stood:
    """What the image that has the name must have; None: nobody can say."""

    tags: frozenset[str] | None = frozenset()
    properties: frozenset[tuple[str, str]] | None = frozenset()
    members: frozenset[str] | None = frozenset({"p1"})
    owner: str | None = "ours"
    visibility: str | None = "shared"
    protected: bool | None = False
    hidden: bool | None = False


@dataclass(frozen=True, slots=True)
class Deed:
    """A person's last change of an aspect: of which image, and which deed it was."""

    aspect: str
    id: str
    number: int


def configured(content: str) -> dict[str, str]:
    """Return the properties that cc-images sets on a version."""
    return listed({"os": content})


def before(content: str) -> dict[str, str]:
    """Return the properties that it set before something was configured no more."""
    return listed({"os": content, "gone": "x"})


def aspects_of(entry: Entry, members: Members) -> Stood:
    """Return what an image has."""
    return Stood(
        tags=entry.tags,
        properties=frozenset(set_by_others(entry).items()),
        members=frozenset(project for id, project in members if id == entry.id),
        owner=entry.owner,
        visibility=entry.visibility,
        protected=entry.protected,
        hidden=entry.hidden,
    )


def changes(entry: Entry, members: Members, aspects: tuple[str, ...]) -> Iterator[tuple[str, Entry, Members]]:
    """Return each aspect that a person may change, with the image and the members after it."""
    toggled = {
        "tags": {"tags": entry.tags ^ {"t"}},
        "owner": {"owner": "theirs" if entry.owner == "ours" else "ours"},
        "visibility": {"visibility": "community" if entry.visibility == "shared" else "shared"},
        "protected": {"protected": not entry.protected},
        "hidden": {"hidden": not entry.hidden},
        "properties": {"properties": _toggled(entry.properties)},
    }
    for aspect in aspects:
        if aspect == "members":
            if entry.visibility == "shared":
                yield aspect, entry, members ^ {(entry.id, "p2")}
        else:
            yield aspect, replace(entry, **toggled[aspect]), members  # type: ignore[arg-type]


def _toggled(properties: Mapping[str, str]) -> dict[str, str]:
    without = {name: value for name, value in properties.items() if name != "x"}
    return without if "x" in properties else {**properties, "x": "1"}


def after_deed(stood: Stood, aspect: str, entry: Entry, members: Members) -> Stood:
    """Return what must stand after a person's change of the image that has the name.

    Nobody can say it of members while the image is yet to be shared with those of the one before.
    """
    now = {aspect: getattr(aspects_of(entry, members), aspect)}
    if aspect == "visibility" or (aspect == "members" and entry.owes):
        now["members"] = None
    return replace(stood, **now)


def unknown(stood: Stood, *aspects: str) -> Stood:
    """Return what must stand when nobody can say it of some aspects."""
    return replace(stood, **dict.fromkeys(aspects)) if aspects else stood


def after_step(stood: Stood, step: Act, unseen: set[str], contested: set[str]) -> Stood:
    """Return what must stand after a host's step; it has not seen people's deeds in `unseen`.

    Those in `contested` are on an image that loses its name to another one that has it, too.
    """
    match step:
        case Archive():
            return unknown(stood, *unseen, *contested)
        case Publish() if unseen:
            return unknown(after_step(stood, step, set(), contested), *unseen)
        case Describe():
            return unknown(stood, *(unseen & {"tags"} if _together(step.entry, step.wanted) else ()))
        case Publish():
            if not step.carry and not step.entry.recalled:
                stood = replace(stood, tags=frozenset(), properties=frozenset(), members=frozenset(), owner="ours",
                                hidden=False)  # fmt: skip
            uncertain = {"hidden": not step.hides, "protected": step.entry.protected}
            stood = unknown(stood, *(aspect for aspect, whether in uncertain.items() if whether))
            return stood if step.carry or not step.entry.recalled else unknown(stood, *ASPECTS)
    return stood


def refused(stood: Stood, step: Act) -> Stood:
    """Return what must stand after the site has refused a step for good."""
    match step:
        case Describe() if step.entry.target:
            return unknown(stood, "properties", "visibility", "members")
        case Give():
            return unknown(stood, "owner")
        case Share():
            return unknown(stood, "members")
        case Describe() if step.entry.archives:
            return unknown(stood, "tags")
    return stood


def merged(seen: Entry, told: Entry, now: Entry) -> Entry:
    """Return an image after a change by Glance: what differs from what its host has seen, and tags all together.

    Tags that are only taken away are taken one by one.
    """
    whole = _together(seen, told)
    changed = {name: getattr(told if getattr(told, name) != getattr(seen, name) else now, name)
               for name in FIELDS.values()}  # fmt: skip
    properties = now.properties
    if told.properties != seen.properties:
        gone = seen.properties.keys() - told.properties.keys()
        own = {name: value for name, value in told.properties.items() if seen.properties.get(name) != value}
        properties = {name: value for name, value in now.properties.items() if name not in gone} | own
    base = told if whole else replace(now, tags=now.tags - (seen.tags - told.tags), owes=now.owes and told.owes)
    return replace(base, **changed, properties=properties, status=now.status)


def _together(seen: Entry, told: Entry) -> bool:
    """Say whether a change sets all tags of an image."""
    fewer = set(tags(told)) < set(tags(seen)) and told == replace(seen, tags=told.tags, owes=told.owes)
    return tags(told) != tags(seen) and not fewer


def wrong(stood: Stood, holder: Entry, members: Members, images: tuple[Entry, ...]) -> str:
    """Return what the image that has the name lacks, or has too much, when everything has calmed; or nothing."""
    has = aspects_of(holder, members)
    for each in fields(Stood):
        wanted, found = getattr(stood, each.name), getattr(has, each.name)
        if wanted is not None and wanted != found:
            return f"{each.name} must be {_said(wanted)}, and {holder.id} has {_said(found)}"
    own = dict(holder.properties.items() - set_by_others(holder).items())
    if own != configured(holder.sha512):
        return f"{holder.id} has {own} of what is configured"
    for entry in images:
        if stood.tags is not None and is_archived(entry, holder.name) and entry.tags & holder.tags:
            return f"{entry.id} was archived, and has tags of {holder.id}"
    return ""


def _said(value: object) -> str:
    return ", ".join(sorted(map(str, value))) or "nothing" if isinstance(value, frozenset) else str(value)
