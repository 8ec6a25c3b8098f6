"""Bills of materials that the store keeps beside the records of builds, and their names for people.

    builds/<tag>/<arch>/<version>.cdx     CycloneDX, JSON; images/<Name>.cdx.json points to that of the build in force
    builds/<tag>/<arch>/<version>.spdx    the same as SPDX

They are written once, so that a later release of the libraries changes nothing that was published or signed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cc_images.host.files import point, write_bytes
from cc_images.model.bill_forms import FORMS


def kept(record: Path, identity: str) -> dict[str, str]:
    """Return the documents beside a record, by form; nothing unless there is one of each form about that bill."""
    found: dict[str, str] = {}
    with suppress(OSError, UnicodeDecodeError):
        for form in FORMS:
            text = _file(record, form).read_text()
            if f'"urn:uuid:{identity}"' not in text:
                return {}
            found[form] = text
    return found if len(found) == len(FORMS) else {}


def keep(record: Path, documents: Mapping[str, str]) -> None:
    """Write the documents beside a record. Raises OSError."""
    for form, text in documents.items():
        write_bytes(_file(record, form), text.encode())


def point_names(record: Path, images: Path, name: str) -> None:
    """Let the names for people in the folder `images` point to the documents beside a record, or to none."""
    for form, ending in FORMS.items():
        file, link = _file(record, form), images / f"{name}.{ending}.json"
        if file.exists():
            point(link, Path(os.path.relpath(file, images)))
        else:
            link.unlink(missing_ok=True)


def forget(record: Path) -> None:
    """Remove the documents beside a record."""
    for form in FORMS:
        _file(record, form).unlink(missing_ok=True)


def _file(record: Path, form: str) -> Path:
    return record.with_suffix(f".{FORMS[form]}")
