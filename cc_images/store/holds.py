"""Versions that people hold: scheduled runs do not publish them until somebody releases them.

Owns `holds.json` in the store. A hold is about one build; a newer one is published as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cc_images.host import record_files
from cc_images.host.files import write_json
from cc_images.model import site_shapes
from cc_images.model.catalog import Arch
from cc_images.model.status import Hold
from cc_images.store.records import Store


class Holds:
    """The holds of a store. Reading never fails: holds that cannot be read are none, and the log says so."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Hold]:
        """Return every hold and every release, by image, architecture and version."""
        said = record_files.recalled(self._path, site_shapes.HoldsShape, self._store.root) or {"holds": []}
        known = site_shapes.HoldShape.__struct_fields__
        found = (Hold(**{each: plain[each] for each in known if each in plain}) for plain in said["holds"])
        return sorted(found, key=lambda hold: (hold.tag, hold.arch, hold.version))

    def of(self, tag: str, arch: Arch) -> Mapping[str, Hold]:
        """Return those of an image, by version."""
        return {hold.version: hold for hold in self.all() if (hold.tag, hold.arch) == (tag, arch)}

    def put(self, *holds: Hold) -> None:
        """Hold or release versions; the last word on each counts. Raises CCImagesError for a full store."""
        with self._store.lock("holds"):
            found = {(hold.tag, hold.arch, hold.version): hold for hold in (*self.all(), *holds)}
            said = {"holds": [asdict(found[key]) for key in sorted(found)]}
            write_json(self._path, record_files.encoded(site_shapes.HoldsShape, said, self._path))

    @property
    def _path(self) -> Path:
        return self._store.root / "holds.json"
