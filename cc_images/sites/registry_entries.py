"""Versions in a registry as images of a site: pure.

Each version has a record: a manifest with a tag of its own, whose annotation says what cc-images knows. A version is
in force when the tag `latest` has its digest, staged while its record has a target, and archived otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from cc_images import clock
from cc_images.host import record_files
from cc_images.model import site_shapes
from cc_images.model.catalog import Json
from cc_images.sites.base import Publication, Upload
from cc_images.sites.catalogue_entries import entry_of, marks_of
from cc_images.sites.entry import Entry, archive_names
from cc_images.sites.manifests import annotation
from cc_images.sites.registry_names import Place, version_tags

RECORD = "cc-images.entry"
"""The annotation that makes a manifest a record."""

TOMBSTONE = "cc-images.removed"
"""The annotation of a manifest that takes a tag's place for the moment before it goes."""


def record_of(raw: bytes, place: Place) -> Json | None:
    """Return what a record says; None for a manifest that is none for this name."""
    said = record_in(raw)
    return said if said is not None and said["name"] == place.name else None


def record_in(raw: bytes) -> Json | None:
    """Return what a record says, whatever name it is for; None for a manifest that is none."""
    with suppress(ValueError, record_files.Newer):
        return record_files.parsed(annotation(raw, RECORD).encode(), site_shapes.VersionInRegistryShape, RECORD)
    return None


def recorded(said: Json) -> str:
    """Return a record as its annotation has it."""
    return json.dumps(record_files.encoded(site_shapes.VersionInRegistryShape, said), sort_keys=True)


def upload_of(step: Upload, publication: Publication, place: Place, digest: str) -> Json:
    """Return the record of a version whose bytes are not there yet."""
    properties = dict(publication.properties)
    return dict(publication.details) | {
        "id": step.id,
        "name": publication.name,
        "published": clock.now().isoformat(),
        "run": publication.run,
        "target": publication.name,
        "replaces": step.replaces,
        "properties": properties,
        "digest": digest,
        "tags": version_tags(place, properties),
    }


def marked(said: Json, entry: Entry) -> Json:
    """Return a record with the marks and properties of an image."""
    return said | marks_of(entry) | {"properties": dict(entry.properties)}


def in_force(records: Iterable[Json], latest: str) -> Json | None:
    """Return the record of the version that is in force, by the digest of `latest`; None if it is none of ours.

    Several versions may have one digest: that which was published goes before one that is just being published, and
    that before an archived one, to which a person has moved the tag.
    """
    found = [said for said in records if latest and said.get("digest") == latest and not said.get("removed")]
    found = [said for said in found if not said.get("target") or said.get("publishing")]
    return max(found, key=lambda said: (not said.get("archived"), not said.get("target"), said.get("turn", 0)),
               default=None)  # fmt: skip


def entries(place: Place, records: list[Json], tags: Mapping[str, str], created: datetime) -> list[Entry]:
    """Return every version of a name. `tags` are the digests of `latest` and of tags with archive names.

    `created` is the age of an image in `latest` that is none of ours, of which a registry knows no age.
    """
    latest = tags.get(place.latest, "")
    holder = in_force(records, latest)
    ours = {said.get("digest", "") for said in records}
    others: list[Entry] = []
    if latest and holder is None:
        others.append(Entry(id=latest, name=place.name, sha512="", size=0, created=created))
    for tag, digest in sorted(tags.items()):
        if (name := place.archive_name(tag)) and digest not in ours | {latest}:
            with suppress(ValueError):  # no day of the calendar
                day = datetime.strptime(name.rpartition("-")[2][:8], "%Y%m%d").replace(tzinfo=UTC)
                others.append(Entry(id=digest, name=name, sha512="", size=0, created=day))
    taken = {each.name for each in others} | {said.get("archive", "") for said in records}
    aged = sorted(records, key=lambda said: str(said["published"]))
    return [*others, *(_version(said, said is holder, taken) for said in aged)]


def _version(said: Json, holds: bool, taken: set[str]) -> Entry:
    """Return a version as an image; an archived one has the name of its tag, or a free one if a kill left no tag."""
    entry = entry_of(said, disk_format="", in_force=holds, stored=True)
    if holds or entry.target:
        return entry
    name = said.get("archive") or next(each for each in archive_names(entry) if each not in taken)
    taken.add(name)
    return replace(entry, name=name)
