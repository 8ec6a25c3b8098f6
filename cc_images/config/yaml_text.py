"""Texts of YAML files: read with a limit, quoted, and words that are near to a wrong one."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

LARGEST = 32 << 20
"""Bytes above which a file is no configuration."""


def choice(word: str, known: Iterable[str]) -> str:
    """Return the sentence about a word that is not one of the known ones."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"{word!r} is none of {', '.join(known)}" + (f" (did you mean {close[0]}?)" if close else "")


def read_text(file: Path) -> str:
    """Return what a file has. Raises OSError, and ValueError for what is no file of a sensible size."""
    status = file.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    if status.st_size > LARGEST:
        raise ValueError(f"has more than {LARGEST >> 20} MiB")
    return file.read_text()


def quoted(value: str) -> str:
    """Return a string as YAML has it: in quotes only where it would be something else without."""
    return yaml.safe_dump(value).splitlines()[0]


def plain(text: str) -> Any:
    """Return a YAML text of a foreign schema as plain data. Raises ValueError for what is none."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error
