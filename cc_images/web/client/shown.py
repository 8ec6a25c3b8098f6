"""The answers of a service as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from cc_images.report.units import age, aligned, clipped, duration
from cc_images.web.client.answers import Build, Entry
from cc_images.web.client.decisions import FAILED, OVER

WIDTH = 60
"""Columns of a message in a table."""

LISTED = 20
"""Lines of a log after a failure that are shown."""


def builds(found: Sequence[Build], now: datetime) -> str:
    """Return the table of builds."""
    table = [("build", "status", "requested", "of", "version", "")]
    for each in found:
        message = _one_line(each.message)
        if each.requesters:
            message = " ".join(filter(None, (message, f"({', '.join(each.requesters)})")))
        versions = ", ".join(dict.fromkeys(_one_line(made.version) for made in each.images))
        row = (each.id, each.status, _age(each.requested, now), clipped(subject(each), WIDTH), versions or "-")
        table.append((*row, message[:WIDTH]))
    return "\n".join(aligned(table)) if found else "no builds yet"


def build(found: Build) -> str:
    """Return all that is known of a build."""
    lines = [f"{found.id}  {state(found)}", f"  of: {subject(found)}"]
    lines += [f"  requested: {found.requested}"] if found.requested else []
    lines += [f"  ended: {found.ended}"] if found.ended else []
    if found.queue_position:
        lines.append(f"  place in the queue: {found.queue_position}")
    if found.estimate is not None:
        lines.append(f"  about {duration(found.estimate)} to go")
    lines += [f"  {name}: {_one_line(became)}" for name, became in found.tasks.items()]
    lines += made(found)
    if found.status == FAILED and found.log_tail:
        lines += ["  last lines of its log:", *(f"    {_one_line(each)}" for each in found.log_tail[-LISTED:])]
    return "\n".join(lines)


def state(found: Build) -> str:
    """Return a build's status, and its message."""
    return f"{found.status}: {_one_line(found.message)}" if found.message else found.status


def made(found: Build) -> list[str]:
    """Return the versions that a build has made, and their files."""
    return [
        "\n    ".join((f"  {each.image} {each.architecture} {each.version}", *map(_one_line, each.files)))
        for each in found.images
    ]


def ended(found: Build) -> str:
    """Return how a build ended, and how to get what it made."""
    lines = [f"{found.id} {state(found)}", *made(found)]
    if found.status not in OVER:
        return "\n".join(lines)
    if any(each.files for each in found.images):
        lines.append(f"to get the files: cc-images download {found.id}")
    return "\n".join(lines)


def subject(found: Build) -> str:
    """Return what a build is of."""
    said = found.request
    names = said.get("images")
    if not isinstance(names, list):
        names = [said.get("image_id") or " ".join(str(said.get(key, "")) for key in ("workflow", "step_id"))]
    arches = said.get("architectures")
    if said.get("commit"):
        names = [f"{names[0]} at {str(said['commit'])[:12]}"]
    words = [", ".join(map(str, names)), *([f"({', '.join(map(str, arches))})"] if isinstance(arches, list) and arches
             else []), *(each for each in ("push", "force") if said.get(each) is True)]  # fmt: skip
    return _one_line(" ".join(words)).strip() or found.kind


def catalogue(found: Sequence[Entry]) -> str:
    """Return the table of images that can be requested."""
    rows = [(each.image, ", ".join(each.architectures), each.builds_on or "-", each.name) for each in found]
    return "\n".join(aligned([("tag", "arch", "depends on", "name"), *rows])) if rows else "no images"


def _age(said: str, now: datetime) -> str:
    with suppress(ValueError, TypeError):
        return f"{age(now - datetime.fromisoformat(said))} ago"
    return "-"


def _one_line(text: str) -> str:
    return " ".join(text.split())
