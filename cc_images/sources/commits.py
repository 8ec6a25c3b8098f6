"""Commits that sources want, in the copies of their repositories: by hexadecimal digits, or by a branch or tag."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import process
from cc_images.model.element_source import ElementSource
from cc_images.sources.git_command import git

_DIGITS = re.compile(r"[0-9a-f]{4,64}")


def ref(source: ElementSource) -> str:
    """Return the one reference of ours for a branch: names of branches may be folders of each other."""
    name = source.commit if source.alone else source.branch
    return f"refs/cc-images/{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def resolved(source: ElementSource, mirror: Path) -> str:
    """Return the commit that a source wants; digits mean a commit alone, though a tag or branch is called so, too.

    Raises CCImagesError for one that is not there.
    """
    if _DIGITS.fullmatch(source.commit):
        found = _begun_with(source.commit, mirror)
    else:
        found = _named(source.commit or ref(source), mirror)
    if len(found) == 1:
        return found[0]
    wanted = f"commit {source.commit}" if source.commit else f"branch or tag {source.branch}"
    raise CCImagesError(
        f"{source.file}: {source.name}: {wanted} "
        + (f"may be any of {len(found)} commits" if found else "does not exist"),
        hint="write more of its digits" if found else "correct the entry",
        reason=Reason.FETCH,
    )


def _begun_with(digits: str, mirror: Path) -> list[str]:
    """Return the commits that begin with some digits; git's own look-up would prefer tags and branches."""
    try:
        found = git(mirror, "rev-parse", f"--disambiguate={digits}").split()
        return [each for each in found if git(mirror, "cat-file", "-t", each).strip() == "commit"]
    except process.CommandFailed:
        return []


def _named(name: str, mirror: Path) -> list[str]:
    try:
        return [git(mirror, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()]
    except process.CommandFailed:
        return []
