"""Versions of a catalogue as images of a site: pure, and the same for folders and containers.

A version is in force when `current` names it, staged while its manifest has a target, and archived otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from cc_images import clock
from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.model import site_shapes
from cc_images.model.catalog import Json
from cc_images.sites.base import Publication, Upload
from cc_images.sites.entry import Entry, archive_names, staged_name

MANIFEST, SUMS, CURRENT = "manifest.json", "SHA256SUMS", "current"


def entry_of(said: Json, *, disk_format: str, in_force: bool, stored: bool) -> Entry:
    """Return a version as an image; `stored` says whether its file is there.

    One that is being removed is an upload that ended long ago, so that the next push removes the rest of it.
    """
    name, run, target = said["name"], said.get("run", ""), said.get("target", "")
    removed = said.get("removed", False) and not in_force
    staged = removed or (bool(target) and not in_force)
    archived = not in_force and not staged
    published = datetime.fromisoformat(said["published"]).astimezone(UTC)
    return Entry(
        id=said["id"],
        name=staged_name(name, run) if staged else name,
        sha512=said.get("sha512", ""),
        size=said.get("size", 0),
        created=datetime.fromtimestamp(0, UTC) if removed else published,
        properties=said.get("properties", {}),
        status="active" if stored and "sha512" in said and not removed else "queued",
        disk_format=disk_format,
        made=True,
        made_for=name,
        run=run,
        target=name if removed else target,
        replaces=said.get("replaces", ""),
        turn=said.get("turn", 0),
        archives=name if archived or (said.get("archived", False) and not removed) else "",
        successor=said.get("successor", ""),
        recalled=said.get("recalled", False) and not removed,
    )


def with_archive_names(found: Iterable[tuple[Entry, bool]]) -> list[Entry]:
    """Return images of one name, of which those that are archived and not in force get archive names."""
    named: list[Entry] = []
    taken: set[str] = set()
    for entry, in_force in found:
        if entry.archives and entry.name == entry.made_for and not in_force:
            free = next(each for each in archive_names(entry) if each not in taken)
            taken.add(free)
            named.append(replace(entry, name=free))
        else:
            named.append(entry)
    return named


def upload_of(step: Upload, publication: Publication, disk_format: str) -> Json:
    """Return the manifest of a version whose file is not there yet."""
    return dict(publication.details) | {
        "id": step.id,
        "name": publication.name,
        "published": clock.now().isoformat(),
        "run": publication.run,
        "target": publication.name,
        "replaces": step.replaces,
        "properties": dict(publication.properties),
        "disk_format": disk_format,
    }


def manifest_of(said: Json) -> bytes:
    """Return the manifest of a version as it is stored."""
    plain = record_files.encoded(site_shapes.ManifestOfVersionShape, said)
    return json.dumps(plain, indent=1, sort_keys=True).encode() + b"\n"


def marks_of(entry: Entry) -> Json:
    """Return the marks of an image as its manifest has them."""
    return {
        "run": entry.run,
        "target": entry.target,
        "replaces": entry.replaces,
        "turn": entry.turn,
        "successor": entry.successor,
        "recalled": entry.recalled,
        "archived": bool(entry.archives),
    }


def places_of(content: bytes, site: str, where: object) -> dict[str, str]:
    """Return the version of each name that `current` has. Raises CCImagesError for a file that is none of ours."""
    try:
        said = json.loads(content)
        if not all(isinstance(each, str) for pair in said.items() for each in pair):
            raise ValueError
    except (ValueError, AttributeError, RecursionError) as error:
        raise CCImagesError(
            f"site {site}: {where} is no JSON of names and versions",
            hint="put it right by hand: the newest versions of each name are in `versions`",
            reason=Reason.SITE,
        ) from error
    return dict(said)
