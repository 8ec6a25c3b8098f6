"""What this store's runs have put where, and when: known without asking a site.

Owns `published.json` in the store. It is a memory, not the truth: somebody else may have changed a site since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

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
        with suppress(OSError, ValueError, TypeError, AttributeError, LookupError):
            for plain in json.loads(self._path.read_text())["published"]:
                put = Put(**plain)
                words = (put.site, put.name, put.tag, put.arch, put.version)
                if all(isinstance(word, str) for word in words):
                    self._puts[put.site, put.name] = replace(put, since=float(put.since), seen=float(put.seen))

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
        write_json(self._path, {"published": [asdict(put) for put in self.all()]})
