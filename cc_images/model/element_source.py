"""Sources of elements: entries of third-party.yaml."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementSource:
    """One entry of third-party.yaml: a git repository that holds elements."""

    name: str
    repo: str
    branch: str = "main"
    elements_directory: str = "."
    commit: str = ""
