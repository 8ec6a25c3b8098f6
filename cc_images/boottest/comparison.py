"""Comparison of two images: which of their partitions differ, and in which files, from what `inside/listing` lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cc_images.model.catalog import Json

ASPECTS = ("mode", "owner", "attributes", "size", "content", "time")
"""The aspects of a file, in the order in which they are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The differences of two images: names of regions, and paths with a phrase each."""

    regions: tuple[str, ...]
    files: Mapping[str, str]

    @property
    def contents(self) -> list[str]:
        """The files that both have, with other contents."""
        return [path for path, said in self.files.items() if "content" in said.split(", ")]


def compared(one: Json, other: Json) -> Comparison:
    """Compare two lists of `inspector.listed`: `one` is what there was, `other` what was made now."""
    before, after = ({each["name"]: each["digest"] for each in listed["partitions"]} for listed in (one, other))
    regions = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    olds, news = one.get("files", {}), other.get("files", {})
    files = {}
    for path in sorted({*olds, *news}):
        if path not in news:
            files[path] = "is gone"
        elif path not in olds:
            files[path] = "is new"
        elif said := [aspect for aspect in ASPECTS if olds[path].get(aspect) != news[path].get(aspect)]:
            files[path] = ", ".join(said)
    return Comparison(regions=tuple(regions), files=files)
