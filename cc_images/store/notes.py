"""Notes of a run: files that its tasks leave for each other in the run's workspace, each with a name and a type.

    context.json                      settings that all tasks share (RunSettings)
    secrets.json                      values behind references in envelopes; mode 0600
    upstream.json                     state of upstream as the plan saw it: address → digest
    recipes/<recipe key>.json         details of what the run may build: recipe, element files, source commits
    fetched/<download>.json           the file of a download (Fetched)
    pinned/<tag>-<arch>-<version>.json  stored builds that the plan relies on
    <tag>-<arch>/joined.json          that another run has made the same build first (Joined)
    <tag>-<arch>/evidence.json        what a build has left for its conversion (Evidence)
    asleep/<task>                     tasks that wait for a lease or lock of another run

A workspace goes with its run, so notes have no format number; every task of a run has the same version of cc-images.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Settings that all tasks of a run share. `cores` are per task, `guest_cores` per guest."""

    began: float
    """When the run began, in seconds of the host's monotonic clock."""
    cores: int = 1
    guest_cores: int = 1
    guests_at_once: int = 1
    offline: bool = False
    network: Mapping[str, str] = field(default_factory=dict)
    """Proxies and the like for builds; values may be references to secrets."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Repository and commit of the catalog; see `builders.provenance`."""
    clouds: Mapping[str, str] = field(default_factory=dict)
    """The clouds.yaml entry of each site that is a cloud."""
    debug: bool = False
    """Whether a hook that fails opens a shell on the user's terminal."""
    keep_failed: bool = False
    """Whether the tree of a build that fails is kept."""
    sign: str = ""
    """The key that signs what is published; empty: nothing is signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The file of a download: a name that stays until the run ends."""

    path: str

    @property
    def digest(self) -> str:
        """The file's digest."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A build of another run that this run takes instead of its own."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The facts of a finished build that its conversion needs besides the disk."""

    recipe_key: str
    file: str
    parts: Mapping[str, str] = field(default_factory=dict)
    """Finished files besides it, by format."""
    timings: Mapping[str, float] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)


def write(path: Path, note: object, mode: int = 0o644) -> None:
    """Write a note whole or not at all. Raises OSError when it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(note))
    staged.rename(path)


def read(path: Path, kind: type[T]) -> T:
    """Return the note of a type in a file. Raises FileNotFoundError when there is none."""
    return msgspec.json.decode(path.read_bytes(), type=kind)


def found(path: Path, kind: type[T]) -> T | None:
    """Return what `read` returns, or None when there is no note."""
    try:
        return read(path, kind)
    except FileNotFoundError:
        return None
