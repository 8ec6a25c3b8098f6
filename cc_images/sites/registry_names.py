"""Names of images in a registry: repositories and tags. Pure.

An image is `HOST/PREFIX/<tag of the catalogue>`, of which the tag `latest` is the version that is in force. A variant
of a family, and a SIF file, have the family's repository, and a suffix at each of their tags. Other modules know the
image by its name on sites: `Name` is the tag `latest`, `Name-20261122` the tag `latest-20261122`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Format
from cc_images.model.site import Site

LATEST = "latest"

VERSION = "registry-version"
"""The property that has an image's own version; without it the build's version is the tag."""

LABEL = "@label"
"""Stands for the version that the image's own label says: it is known when the image is built."""

BUMP = "registry-bump"
"""The property of an image whose version gets a number where it exists with other bytes."""

PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*\Z")
"""One part of a repository's path, by the distribution specification (pull)."""

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")

_RECORD = ".entry"
"""The ending of a tag that has what cc-images knows of a version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The repository of a name, and the suffix of its tags."""

    name: str
    repository: str
    suffix: str = ""

    @property
    def latest(self) -> str:
        """The tag of the version that is in force."""
        return f"{LATEST}{self.suffix}"

    def tag(self, name: str) -> str:
        """Return the tag of the name, or of an archive name of it."""
        return f"{self.latest}{name.removeprefix(self.name)}"

    def archive_name(self, tag: str) -> str:
        """Return the archive name that a tag stands for; empty if it stands for none."""
        rest = tag.removeprefix(self.latest)
        return f"{self.name}{rest}" if rest != tag and re.fullmatch(r"-\d{8}(\.\d+)?", rest) else ""

    def is_archive(self, tag: str) -> bool:
        """Say whether a tag stands for an archive name."""
        return bool(self.archive_name(tag))

    def record(self, entry: str) -> str:
        """Return the tag of the record of a version, by its id."""
        return f"{self.latest}.{entry}{_RECORD}"

    def is_record(self, tag: str) -> bool:
        """Say whether a tag is that of a record of this name."""
        return tag.startswith(f"{self.latest}.") and tag.endswith(_RECORD)


def place_of(site: Site, name: str, form: Format) -> Place:
    """Return where a site has the image of a name. Raises UserError for a name that no repository can have."""
    family, variant = site.families.get(name, (name, ""))
    repository = family.lower()
    if not PATH.match(repository):
        raise UserError(
            f"site {site.name}: {repository} cannot be the name of a repository",
            hint="let the image's name have letters, digits, and single `.`, `_` and `-` between them",
            reason=Reason.CONFIGURATION,
        )
    suffix = f"-{variant}" if variant else ""
    return Place(name=name, repository=repository, suffix=suffix + ("-sif" if form is Format.SIF else ""))


def version_tags(place: Place, properties: Mapping[str, str]) -> list[str]:
    """Return the tag that a version keeps, by its properties; none where they tell none that can be a tag."""
    version = properties.get(VERSION) or properties.get("build-version", "")
    tag = f"{version}{place.suffix}"
    return [tag] if version and TAG.match(tag) and not tag.startswith(LATEST) else []
