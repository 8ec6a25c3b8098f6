"""The note that a build leaves of its environment, read without trust: commands of the build write to its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from cc_images.builders.spack import generated
from cc_images.builders.spack.drop import Drop
from cc_images.errors import CCImagesError, Reason

LARGEST = 1 << 20
"""Bytes that the note may have."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def variables(folder: Path, present: Mapping[str, str]) -> dict[str, str]:
    """Return an image's variables with those of its environment. Raises CCImagesError without a note of these."""
    try:
        with Drop(folder).open(generated.VARIABLES, LARGEST) as file:
            said = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise _nothing() from error
    right = isinstance(said, dict) and all(
        isinstance(value, str) and _NAME.fullmatch(name) for name, value in said.items()
    )
    if not right:
        raise _nothing()
    return generated.variables(said, present)


def _nothing() -> CCImagesError:
    return CCImagesError("the build has left no variables of its environment", reason=Reason.NO_RESULT)
