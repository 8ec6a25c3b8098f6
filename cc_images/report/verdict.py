"""The verdict on an image that was built again, as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cc_images.model.catalog import Json

MOST = 200
"""Files that are told one by one."""


def shown(title: str, identical: bool, digest: str, said: Mapping[str, Sequence[str]], taken: Path | None) -> str:
    """Return a verdict: one line for what is identical, else what differs, a line each below its subject."""
    if identical:
        return f"{title}: identical\n  sha256 {digest}"
    lines = [f"{title}: differs"]
    for subject, found in said.items():
        if found:
            lines += [f"{subject}: {len(found)}", *(f"  {each}" for each in found[:MOST])]
            lines += [f"  … and {len(found) - MOST} more"] if len(found) > MOST else []
    return "\n".join(lines + ([f"both versions of files that differ: {taken}"] if taken else []))


def as_json(title: str, identical: bool, digests: Sequence[str], said: Mapping[str, Sequence[str]]) -> Json:
    """Return a verdict as plain data; `digests` are those of then and now."""
    return {"image": title, "identical": identical, "sha256": list(digests), "differences": dict(said)}
