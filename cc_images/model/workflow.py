"""Workflows of requests: the repository that describes their steps, and what a step's description asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflows:
    """The setting `workflows`: a git repository that has `<folder>/<workflow>/<step>`."""

    repo: str = ""
    branch: str = ""
    """The branch that `latest` means; empty: the repository's own default."""
    commit: str = ""
    """The commit that `latest` means, in place of a branch's newest."""
    folder: str = "."
    prefix: str = ""
    """How the names of images begin."""
    served: tuple[str, ...] = ()
    """Folders below which requests over HTTP may name a path."""


NO_WORKFLOWS = Workflows()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step's description: words for apt, requirements of pip and specs of Spack, and which other files it has."""

    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    specs: tuple[str, ...] = ()
    has_requirements: bool = False
    has_environment: bool = False
    has_script: bool = False

    @property
    def is_of_spack(self) -> bool:
        """Whether it has a part that Spack makes."""
        return bool(self.specs) or self.has_environment
