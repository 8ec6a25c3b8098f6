"""The toolbox in keys: which of its parts can change a build's result, and the version of each.

A key must move when an image would come out different, and not when a comment does. So keys hold no digest of the
toolbox but an identity, made of the versions below. `tests/unit/toolbox/test_toolbox_parts.py` compares the files with
`tests/golden/toolbox.json` and fails for any change: who made it decides whether results can differ, and if so raises
the part's version here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

FIRST = "f58f73cfabed3a5b4fc995f730fd9244969ba32d6edd4b7e2cfe85a33be56f59"
FIRST_TWINS = "3fc023aa821739d8e74fa1e6cb42fd34e035a0411f83d70c9c325f06e1c3a46d"
"""The identities while all versions are 1: the digests that keys held before there were versions."""

FIRST_DISKS = "4a1a3a1b0e2cf0a0b2a6f8f4c1c1c4a8c4c8ad7a4d0a8b7f3d5c4a1f6a9d2e71"

VERSIONS: Mapping[str, int] = {}
"""The versions of the files in `toolbox/` that are not 1 any more, by relative path."""

TWINS = ("twins/",)
"""The beginnings of the paths of parts that serve only builds for another architecture."""

DISKS = ("disk/", "elements/cc-disk/", "du")
"""Those of parts that serve only disks which are put together here."""


CONTAINERS = ("containerfile.py",)
"""Those of parts that serve only images with a Containerfile; see `containerfile.recipes.WRITER`."""


def identity(versions: Mapping[str, int] = VERSIONS) -> str:
    """Return what stands in keys for the toolbox without what serves only twins or disks."""
    return _of(
        FIRST, {path: number for path, number in versions.items() if not path.startswith((*TWINS, *DISKS, *CONTAINERS))}
    )


def identity_of_twins(versions: Mapping[str, int] = VERSIONS) -> str:
    """Return what stands in keys for all that makes and starts twins."""
    return _of(FIRST_TWINS, {path: number for path, number in versions.items() if path.startswith(TWINS)})


def identity_of_disks(versions: Mapping[str, int] = VERSIONS) -> str:
    """Return what stands in keys for all that puts disks together."""
    return _of(FIRST_DISKS, {path: number for path, number in versions.items() if path.startswith(DISKS)})


def _of(first: str, versions: Mapping[str, int]) -> str:
    if not versions:
        return first
    return hashlib.sha256(json.dumps([first, sorted(versions.items())]).encode()).hexdigest()
