"""The tags of a repository as those see them who pull: images of others count, records of ours do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cc_images.sites.manifests import annotation, digest_of
from cc_images.sites.registry_entries import RECORD, TOMBSTONE, record_in
from cc_images.sites.skopeo import Registry

CREATED = "org.opencontainers.image.created"
"""The annotation for the time at which an image was made (OCI image specification, annotations.md)."""

CONFIGURATIONS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
"""Kinds of configurations that say when an image was made."""

FIRST = 1980
"""Years before this one are no time: tools write 0001 or 1970 where they know none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A tag, its digest, and the version and time of what it has, as far as that is known."""

    tag: str
    digest: str
    version: str = ""
    created: datetime | None = None


def listing(registry: Registry, repository: str) -> list[Listed]:
    """Return the tags of a repository, the newest first; none for one that is not there. Raises CCImagesError."""
    every = registry.manifests(repository, registry.tags(repository))
    found = {tag: raw for tag, raw in every.items() if raw is not None}
    records = {said["digest"]: said for raw in found.values() if (said := record_in(raw)) is not None}
    tags = {tag: raw for tag, raw in found.items() if not (annotation(raw, RECORD) or annotation(raw, TOMBSTONE))}
    times: dict[str, datetime | None] = {}
    listed: list[Listed] = []
    for tag, raw in sorted(tags.items()):
        digest = digest_of(raw)
        record = records.get(digest)
        if record is not None:
            version = record["properties"].get("build-version", "")
            listed.append(Listed(tag=tag, digest=digest, version=version, created=_moment(record["published"])))
            continue
        if digest not in times:
            times[digest] = next(filter(None, _said(registry, repository, digest, raw)), None)
        listed.append(Listed(tag=tag, digest=digest, created=times[digest]))
    return sorted(listed, key=lambda each: each.created or datetime.min.replace(tzinfo=UTC), reverse=True)


def _said(registry: Registry, repository: str, digest: str, raw: bytes) -> Iterator[datetime | None]:
    """Yield what an image says itself of when it was made: in its manifest, then in its configuration."""
    yield _moment(annotation(raw, CREATED))
    if _field(_field(raw, "config"), "mediaType") in CONFIGURATIONS:
        yield _moment(_field(registry.configuration(repository, digest) or b"", "created"))


def _field(content: Any, name: str) -> Any:
    """Return a field of a JSON object, or of its text; None where there is none."""
    with suppress(ValueError, RecursionError):
        said = json.loads(content) if isinstance(content, bytes) else content
        return said.get(name) if isinstance(said, dict) else None
    return None


def _moment(said: object) -> datetime | None:
    """Return a time by RFC 3339; None for what is none."""
    with suppress(ValueError, TypeError):
        found = datetime.fromisoformat(said)  # type: ignore[arg-type]
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        return found if found.year >= FIRST else None
    return None
