"""Git repositories that the user names: of elements, in third-party.yaml, and of files for builds, in images.yaml."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementSource:
    """A git repository, and what of it is wanted: the newest of a branch, or a commit, and of that a folder."""

    name: str
    repo: str
    branch: str = "main"
    """Empty: the repository's own default."""
    elements_directory: str = "."
    commit: str = ""
    title: str = "third-party elements"
    """The words for it in messages, before its name."""
    file: str = "third-party.yaml"
    """The file that names it."""
    alone: bool = False
    """Whether the wanted commit is fetched without its history where the server allows that."""
