"""The contents of images as people read them, and how two images differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cc_images.boottest import contents
from cc_images.boottest.contents import differences
from cc_images.model.catalog import Json
from cc_images.report.text import headed

__all__ = ["compared", "differences", "shown"]


def shown(title: str, facts: Json, problems: Sequence[str], size: int) -> str:
    """Return the contents of an image: a heading and its text a row, long texts wrapped; `size` is in bytes."""
    return "\n".join([title, *headed(contents.rows(facts, problems, size))])


def compared(new: str, old: str, found: Mapping[str, Sequence[str]]) -> str:
    """Return how one image differs from another, a line each below its subject."""
    lines = [f"{new} against {old}"]
    for subject, changes in found.items():
        lines += [f"{subject}: {len(changes)}", *(f"  {change}" for change in changes)]
    return "\n".join(lines if found else [*lines, "no difference"])
