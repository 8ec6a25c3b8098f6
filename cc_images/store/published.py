"""The publications of this store's runs, where and when: known without asking a site.

Owns `published.json` in the store. It is a memory, not the truth: somebody else may have changed a site since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

from cc_images.host import record_files
from cc_images.host.files import write_json
from cc_images.model import site_shapes
from cc_images.model.status import Put


class Published:
    """The memory of the store at `root`. Reading never fails: a memory that cannot be read is empty."""

    def __init__(self, root: Path) -> None:
        self._path = root / "published.json"
        self._puts = dict(_remembered(self._path, root, _stamp(self._path)))

    def all(self) -> list[Put]:
        """Return everything, by site, name and format."""
        return [self._puts[key] for key in sorted(self._puts)]

    def by_image(self) -> Mapping[tuple[str, str], Mapping[str, Put]]:
        """Return what is known of each image, by tag and architecture, then by site."""
        found: dict[tuple[str, str], dict[str, Put]] = {}
        for put in self.newest():
            found.setdefault((put.tag, put.arch), {})[put.site] = put
        return found

    def last(self, site: str, name: str, disk_format: str) -> Put | None:
        """Return what this store has put on a site last, under a name and in a format."""
        return self._puts.get((site, name, disk_format))

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
            unknown = self._puts.pop((put.site, put.name, ""), None)  # of a version that did not note the format
            before = self._puts.get((put.site, put.name, put.format), unknown)
            since = before.since if before is not None and before.version == put.version else put.since
            self._puts[put.site, put.name, put.format] = replace(put, since=since)
        said = {"published": [asdict(put) for put in self.all()]}
        write_json(self._path, record_files.encoded(site_shapes.PublishedShape, said, self._path))


@lru_cache(maxsize=2)
def _remembered(path: Path, root: Path, stamp: tuple[int, ...]) -> Mapping[tuple[str, str, str], Put]:
    """Return what is in the file; each push asks, and the file is read once for as long as its stamp is the same."""
    said = record_files.recalled(path, site_shapes.PublishedShape, root) or {"published": []}
    puts = (
        Put(**{each: plain[each] for each in site_shapes.PutShape.__struct_fields__ if each in plain})
        for plain in said["published"]
    )
    return {(put.site, put.name, put.format): put for put in puts}


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what tells one state of a file from another; nothing for one that is not there."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
