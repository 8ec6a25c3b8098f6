"""Records and tags in a registry: what `registry` is made of. Removing a manifest takes all of its tags with it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from cc_images.model.catalog import Json
from cc_images.sites.manifests import annotation, digest_of
from cc_images.sites.registry_entries import RECORD, TOMBSTONE, in_force, record_of, recorded
from cc_images.sites.registry_names import Place
from cc_images.sites.skopeo import Registry


class Records:
    """The records and tags of a registry's images."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.near: Path | None = None
        """A folder in which temporary files go with a run that is killed."""

    def manifests(self, place: Place, wanted: Callable[[str], bool]) -> dict[str, bytes]:
        """Return the manifests of the tags that are wanted."""
        tags = [tag for tag in self.registry.tags(place.repository) if wanted(tag)]
        found = self.registry.manifests(place.repository, tags)
        return {tag: raw for tag, raw in found.items() if raw is not None}

    def look(self, place: Place) -> tuple[list[Json], dict[str, str]]:
        """Return the records of every version of a name, and the digests of `latest` and of archive tags."""
        found = self.manifests(place, lambda tag: tag == place.latest or place.is_record(tag) or place.is_archive(tag))
        records = (record_of(raw, place) for tag, raw in found.items() if place.is_record(tag))
        tags = {tag: digest_of(raw) for tag, raw in found.items() if not place.is_record(tag)}
        tags = {tag: digest for tag, digest in tags.items() if not annotation(found[tag], TOMBSTONE)}
        return [said for said in records if said is not None], tags

    def digest(self, place: Place, tag: str) -> str:
        """Return the digest that a tag has; empty if there is no such tag."""
        raw = self.registry.manifest(place.repository, tag)
        return digest_of(raw) if raw is not None else ""

    def of(self, place: Place, entry: str) -> Json | None:
        """Return the record of a version, by its id, as it is now; None if it is gone."""
        raw = self.registry.manifest(place.repository, place.record(entry))
        return record_of(raw, place) if raw is not None else None

    def write(self, place: Place, said: Json) -> None:
        """Make or replace a version's record."""
        self._note(place, {RECORD: recorded(said)}, place.record(said["id"]))

    def is_in_force(self, place: Place, said: Json) -> bool:
        """Say whether a version is in force."""
        if self.digest(place, place.latest) != said["digest"]:
            return False
        records, tags = self.look(place)
        others = [each for each in records if each["id"] != said["id"]]
        holder = in_force([*others, said], tags.get(place.latest, ""))
        return holder is not None and holder["id"] == said["id"]

    def require_removals(self, place: Place) -> None:
        """Raise CCImagesError where the registry removes nothing."""
        self.registry.delete(place.repository, self._note(place, {TOMBSTONE: str(uuid.uuid4())}, ""))

    def remove(self, place: Place, said: Json) -> None:
        """Remove a version, its tags, and last its record; a manifest and tags that others use stay."""
        own, digest = place.record(said["id"]), said["digest"]
        others = self.manifests(place, lambda tag: tag != own)
        records = [record_of(raw, place) or {} for tag, raw in others.items() if place.is_record(tag)]
        shared = any(each.get("digest") == digest for each in records)
        claimed = {place.tag(each["archive"]): each["digest"] for each in records if each.get("archive")}
        mine = {tag for tag, raw in others.items() if place.is_archive(tag) and claimed.get(tag) != digest_of(raw)}
        mine |= set() if shared else {*said.get("tags", [])}
        used = {tag for tag, raw in others.items() if digest == digest_of(raw) or digest.encode() in raw} - mine
        for tag in sorted(mine & others.keys()):
            if used or annotation(others[tag], TOMBSTONE):
                self.drop(place, tag, digest)
        if not used:
            self.registry.delete(place.repository, digest)
        if record := self.digest(place, own):
            self.registry.delete(place.repository, record)

    def drop(self, place: Place, tag: str, digest: str) -> None:
        """Remove a tag that has this digest, which other tags may have: first it gets a manifest of its own."""
        raw = self.registry.manifest(place.repository, tag)
        if raw is not None and digest_of(raw) == digest:
            self.require_removals(place)
            self._note(place, {TOMBSTONE: str(uuid.uuid4())}, tag)
            raw = self.registry.manifest(place.repository, tag)
        if raw is not None and annotation(raw, TOMBSTONE):
            self.registry.delete(place.repository, digest_of(raw))

    def _note(self, place: Place, annotations: dict[str, str], tag: str) -> str:
        return self.registry.note(place.repository, annotations, tag, folder=self.near)
