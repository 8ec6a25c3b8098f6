"""Kept trees: what builds have left for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cc_images.model.catalog import Arch


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftTree:
    """A packed tree that a build has left, and at which hook; `trouble` says why there is none."""

    file: Path
    phase: str = ""
    hook: str = ""
    code: int | None = None
    """The hook's exit code; None: it did not fail, but the build was stopped."""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A tree in the store: of which run and task, and where its build has stopped."""

    tag: str
    arch: Arch
    run: str
    task: str
    phase: str
    hook: str
    code: int | None
    until: bool
    """Whether the build was to stop there."""
    created: float
    """In seconds since 1970."""

    @property
    def why(self) -> str:
        """Where its build has stopped, in a phrase."""
        if self.until:
            return f"stopped after {self.phase}"
        where = f"{self.phase}.d/{self.hook}" if self.phase else "its start"
        return f"timed out in {where}" if self.code is None else f"{where} failed with code {self.code}"
