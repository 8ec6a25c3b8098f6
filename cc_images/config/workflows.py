"""The setting `workflows`: the repository that describes the steps of workflows, and how their images are named."""

from __future__ import annotations

import re
from pathlib import Path

from cc_images.config.sources import repository
from cc_images.config.yaml_file import Section
from cc_images.model.request import PREFIX
from cc_images.model.workflow import Workflows

LONGEST_PREFIX = 24
"""Letters with which the names of images begin."""

_COMMIT = re.compile(r"[0-9a-f]{7,40}\Z")
_REF = re.compile(r"(?!-)[^\s~^:?*\[\\\x00-\x1f\x7f]+\Z")


def workflows_of(section: Section) -> Workflows:
    """Read where workflows are from, and how the names of their images begin."""
    found = Workflows(
        repo=repository(section),
        branch=section.text("branch", _REF, "the name of a branch"),
        commit=section.text("commit", _COMMIT, "7 to 40 hexadecimal digits"),
        folder=section.text("folder") or ".",
        prefix=section.text("prefix", PREFIX, "small letters and digits, with single dots and hyphens"),
        served=section.words("served"),
    )
    if found.branch and found.commit:
        section.problem("commit", "is given besides branch; remove one")
    if not found.repo and (found.branch or found.commit or found.folder != "."):
        section.problem("repo", "is missing: the address of the repository with the workflows")
    if Path(found.folder).is_absolute() or ".." in Path(found.folder).parts or not found.folder.isprintable():
        section.problem("folder", f"{found.folder!r} is no folder of the repository")
    if len(found.prefix) > LONGEST_PREFIX:
        section.problem("prefix", f"has more than {LONGEST_PREFIX} letters")
    if odd := next((each for each in found.served if not _is_below_root(each)), ""):
        section.problem("served", f"{odd!r} must be a folder below /, by its whole path")
    section.close()
    return found


def _is_below_root(folder: str) -> bool:
    parts = Path(folder).parts
    return folder.startswith("/") and len(parts) > 1 and ".." not in parts
