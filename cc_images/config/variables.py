"""Variables of the catalogue as builds get them: paths that are relative to the home or to the catalogue."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def expanded(environment: Mapping[str, str], home: Path, folder: Path) -> dict[str, str]:
    """Return variables with values that begin with ~/, ./ or ../ as absolute paths: builds have another home."""
    found: dict[str, str] = {}
    for name, value in environment.items():
        if value.startswith("~/"):
            value = str(home / value[2:])
        elif value.startswith(("./", "../")) and (folder / value).exists():
            value = os.path.normpath(folder / value)
        found[name] = value
    return found
