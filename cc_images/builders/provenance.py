"""Provenance: one variable that tells a build where it comes from, as elements of Chameleon's images read it.

Its value is JSON in base64. The part that belongs to the recipe is in the key; repository, commit and time are added
when a build begins, so they move no key.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from cc_images.model.catalog import Image
from cc_images.model.redaction import without_secrets

PROVENANCE = "DIB_CC_PROVENANCE"
"""The variable."""


def stated(image: Image) -> str:
    """Return what an image says of itself: `build-distro`, `build-release`, `build-variant` and what else it has."""
    known = {"distro": "", "release": "", "variant": "", **image.provenance}
    return _encoded({f"build-{name}": value for name, value in known.items()})


def completed(environment: Mapping[str, str], version: str, origin: Callable[[], Mapping[str, str]]) -> dict[str, str]:
    """Return a build's variables with what is known when it begins, if they have provenance made by `stated`.

    `build-timestamp` is the version's, in ISO 8601 and UTC; `build-tag` is the version.
    """
    found = dict(environment)
    if PROVENANCE in found:
        try:
            said = json.loads(base64.b64decode(found[PROVENANCE], validate=True))
        except ValueError:  # the user's own, which is nobody else's business
            return found
        if isinstance(said, dict):
            stamp = f"{version[:4]}-{version[4:6]}-{version[6:11]}:{version[11:13]}:{version[13:16]}"
            found[PROVENANCE] = _encoded({**origin(), "build-timestamp": stamp, "build-tag": version, **said})
    return found


def origin(folder: Path) -> dict[str, str]:
    """Return the repository and commit of a folder, `build-repo` and `build-repo-commit`; empty where there is none."""
    asked = {"build-repo": ("remote", "get-url", "origin"), "build-repo-commit": ("rev-parse", "HEAD")}
    return {name: without_secrets(_git(folder, *words)) for name, words in asked.items()}


def _git(folder: Path, *words: str) -> str:
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def _encoded(said: Mapping[str, str]) -> str:
    return base64.b64encode(json.dumps(said, sort_keys=True).encode()).decode()
