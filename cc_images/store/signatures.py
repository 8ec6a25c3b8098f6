"""Statements about builds of the store, and their signatures: made once, because some keys sign differently each time.

Owns `signatures/` in the store.
"""

from __future__ import annotations

from collections.abc import Mapping

from cc_images.host import record_files, signing
from cc_images.host.files import clear_errors, write_json
from cc_images.model import site_shapes
from cc_images.model.builds import Build
from cc_images.model.statement import statement
from cc_images.store.records import Store


def signed(store: Store, build: Build, name: str, key: str, bills: Mapping[str, str]) -> tuple[str, str]:
    """Return the statement about a build that is published under a name, with its bills, and its signature by a key.

    Raises CCImagesError for a key that cannot be used.
    """
    said = statement(build, name, store.details(build), bills)
    path = store.root / "signatures" / build.tag / build.arch / f"{build.version}.json"
    known = record_files.recalled(path, site_shapes.SignatureShape, store.root) or {}
    if (known.get("statement"), known.get("key")) == (said, key):
        return said, str(known["signature"])
    made = signing.sign(said, key)
    with clear_errors(store.root):
        plain = {"statement": said, "signature": made, "key": key}
        write_json(path, record_files.encoded(site_shapes.SignatureShape, plain))
    return said, made
