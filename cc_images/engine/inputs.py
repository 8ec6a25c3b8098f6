"""Inputs: everything that a run needs besides its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cc_images.model.catalog import Json
from cc_images.model.plan import (
    LayerJob,
)
from cc_images.model.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The variables of an image's builds, and which of them are declared secrets."""

    values: Mapping[str, str] = field(default_factory=dict)
    declared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of a run besides its plan. `jobs` is how many builds run at a time."""

    sites: Mapping[str, Site] = field(default_factory=dict)
    clouds: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, LayerJob] = field(default_factory=dict)
    """Every layer that a build may start from, by recipe key."""
    upstream: Mapping[str, str] = field(default_factory=dict)
    details: Callable[[str], Json] = lambda recipe_key: {}
    variables: Callable[[str], Variables] = lambda tag: Variables()
    network: Mapping[str, str] = field(default_factory=dict)
    origin: Callable[[], Mapping[str, str]] = dict
    parents: Mapping[str, str] = field(default_factory=dict)
    """The first parent of each image, by tag."""
    debug: bool = False
    """Whether a hook that fails opens a shell on the user's terminal."""
    keep_failed: bool = False
    """Whether the tree of a build that fails is kept."""
    sign: str = ""
    """The key that signs what is published."""
    jobs: int = 1
    fail_fast: bool = False
    offline: bool = False
