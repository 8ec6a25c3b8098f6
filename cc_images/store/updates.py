"""Pending updates as they were found last, for metrics and for the page of the images.

Owns `updates.json` in the store. It is a memory: `check-updates` looks anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cc_images.host import record_files
from cc_images.host.files import clear_errors, write_json
from cc_images.model import site_shapes
from cc_images.model.catalog import Json
from cc_images.model.updates import Pending
from cc_images.store.records import Store


def remember(store: Store, rows: Iterable[Pending], now: datetime) -> None:
    """Keep what was found; what is known of other images and sites stays. Raises CCImagesError for a full store."""
    path = store.root / "updates.json"
    with store.lock("books"), clear_errors(store.root):
        known = {(row["site"], row["name"]): row for row in remembered(store)}
        known |= {(row.site, row.name): _plain(row, now) for row in rows}
        said = {"pending": [*known.values()]}
        write_json(path, record_files.encoded(site_shapes.UpdatesShape, said, path))


def _plain(row: Pending, now: datetime) -> Json:
    return {
        "site": row.site,
        "name": row.name,
        "tag": row.tag,
        "arch": row.arch,
        "version": row.version,
        "checked": now.timestamp(),
        "updates": len(row.updates),
        "security": len(row.urgent),
        "unknown": row.unknown,
    }


def remembered(store: Store) -> list[Json]:
    """Return what was found last, an entry for each image and site; nothing where that cannot be read."""
    said = record_files.recalled(store.root / "updates.json", site_shapes.UpdatesShape, store.root)
    rows: list[Json] = said["pending"] if said else []
    defaults: Json = {"updates": 0, "security": 0, "unknown": ""}
    return [defaults | row for row in rows]
