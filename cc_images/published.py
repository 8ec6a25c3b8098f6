"""What this store's runs have put where, and when: known without asking a site.

Owns `published.json` in the store. It is a memory, not the truth: somebody else may have changed a site since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cc_images import records
from cc_images.files import write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """One image as it was put on a site, or found there: its version, and since when, in seconds since 1970."""

    site: str
    name: str
    tag: str
    arch: str
    version: str
    since: float
    seen: float
    """When a run has last found it to be so."""


class Published:
    """What the store at `root` remembers. Reading never fails: a memory that cannot be read is empty."""

    def __init__(self, root: Path) -> None:
        self._path = root / "published.json"
        self._puts: dict[tuple[str, str], Put] = {}
        said = records.recalled(self._path, records.PublishedShape, root) or {"published": []}
        for plain in said["published"]:
            put = Put(**{each.name: plain[each.name] for each in fields(Put)})
            self._puts[put.site, put.name] = put

    def all(self) -> list[Put]:
        """Return everything, by site and name."""
        return [self._puts[key] for key in sorted(self._puts)]

    def of(self, tag: str, arch: str) -> Mapping[str, Put]:
        """Return what is known of one image, by site."""
        return {put.site: put for put in self.newest() if (put.tag, put.arch) == (tag, arch)}

    def newest(self) -> list[Put]:
        """Return for each image and site what was seen there last; an image may have had another name."""
        found: dict[tuple[str, str, str], Put] = {}
        for put in sorted(self.all(), key=lambda each: each.seen):
            found[put.tag, put.arch, put.site] = put
        return [found[key] for key in sorted(found)]

    def add(self, *puts: Put) -> None:
        """Remember these; a version that is there still is there since it came."""
        if not puts:
            return
        for put in puts:
            before = self._puts.get((put.site, put.name))
            since = before.since if before is not None and before.version == put.version else put.since
            self._puts[put.site, put.name] = Put(**asdict(put) | {"since": since})
        said = {"published": [asdict(put) for put in self.all()]}
        write_json(self._path, records.encoded(records.PublishedShape, said, self._path))
