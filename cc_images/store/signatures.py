"""Statements about builds of the store, and their signatures: made once, because some keys sign differently each time.

Owns `signatures/` in the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cc_images.host import record_files, signing
from cc_images.host.files import clear_errors, write_json
from cc_images.host.image_signatures import METHOD, image_signature
from cc_images.model import site_shapes
from cc_images.model.builds import Build, Output
from cc_images.model.statement import statement
from cc_images.store.records import Store


def image_signed(store: Store, build: Build, output: Output, certificate: tuple[str, str]) -> dict[str, str]:
    """Return Glance's properties of a signed image; `certificate` is its id, and the file of its private key.

    Raises CCImagesError for a key that cannot be used.
    """
    uuid, key = certificate[0], f"{certificate[1]} {_stamp(Path(certificate[1]).expanduser())}"
    path = store.root / "signatures" / build.tag / build.arch / f"{build.version}.{output.format}.{uuid}.json"
    known = record_files.recalled(path, site_shapes.SignatureShape, store.root) or {}
    if known.get("statement") != output.sha512 or known.get("key", "").partition(" ")[2] != key:
        kind, made = image_signature(output.sha512, Path(certificate[1]).expanduser())
        known = {"statement": output.sha512, "signature": made, "key": f"{kind} {key}"}
        with clear_errors(store.root):
            write_json(path, record_files.encoded(site_shapes.SignatureShape, known))
    return {
        "img_signature": str(known["signature"]),
        "img_signature_hash_method": METHOD,
        "img_signature_key_type": str(known["key"]).partition(" ")[0],
        "img_signature_certificate_uuid": uuid,
    }


def _stamp(file: Path) -> str:
    """Return what tells a file from one that is put in its place later."""
    with suppress(OSError):
        status = file.stat()
        return f"{status.st_ino}.{status.st_mtime_ns}.{status.st_size}"
    return ""


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
