"""Versions that people hold: runs do not publish them until somebody releases them.

Owns `holds.json` in the store. A hold is about one build; a newer one is published as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import record_files
from cc_images.host.files import clear_errors, write_json
from cc_images.model import site_shapes
from cc_images.model.catalog import Arch, Json
from cc_images.model.status import Hold
from cc_images.store.records import Store

_log = logging.getLogger(__name__)


class Holds:
    """The holds of a store. A damaged file is set aside; one that cannot be read, or is newer, is an error."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Hold]:
        """Return every hold and every release, by image, architecture and version. Raises CCImagesError."""
        known = site_shapes.HoldShape.__struct_fields__
        good = [plain for plain in self._plain() if record_files.fits(plain, site_shapes.HoldShape)]
        found = (Hold(**{each: plain[each] for each in known if each in plain}) for plain in good)
        return sorted(found, key=lambda hold: (hold.tag, hold.arch, hold.version))

    def by_image(self) -> Mapping[tuple[str, str], Mapping[str, Hold]]:
        """Return those of each image, by tag and architecture, then by version. Raises CCImagesError."""
        found: dict[tuple[str, str], dict[str, Hold]] = {}
        for hold in self.all():
            found.setdefault((hold.tag, hold.arch), {})[hold.version] = hold
        return found

    def of(self, tag: str, arch: Arch) -> Mapping[str, Hold]:
        """Return those of one image, by version. Raises CCImagesError."""
        return self.by_image().get((tag, arch), {})

    def held(self, tag: str, arch: Arch) -> set[str]:
        """Return the versions of one image that are not to be published. Raises CCImagesError."""
        return {version for version, hold in self.of(tag, arch).items() if not hold.released}

    def put(self, *holds: Hold) -> None:
        """Hold or release versions; the last word on each counts. Raises CCImagesError for a full store."""
        with self._store.lock("holds"), clear_errors(self._store.root):
            found = {(hold.tag, hold.arch, hold.version): hold for hold in (*self.all(), *holds)}
            said = {"holds": [asdict(found[key]) for key in sorted(found)]}
            write_json(self._path, record_files.encoded(site_shapes.HoldsShape, said, self._path))

    def _plain(self) -> list[Json]:
        try:
            found: list[Json] = record_files.load(self._path, site_shapes.HoldsShape)["holds"]
        except FileNotFoundError:
            return []
        except record_files.Damaged as error:
            record_files.set_aside(self._path, self._store.root, str(error))
            return []
        except (OSError, record_files.Newer) as error:
            raise CCImagesError(
                f"{self._path} cannot be read, so nobody knows what is held: {error}",
                hint="use the cc-images that wrote it, and its user",
                reason=Reason.STORE_UNREADABLE,
            ) from error
        return found

    @property
    def _path(self) -> Path:
        return self._store.root / "holds.json"
