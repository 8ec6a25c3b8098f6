"""Resources that the runs of one host share, and the usage of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cc_images.model.plan import RESOURCES, Resource

PLACES = frozenset(RESOURCES.values())
"""Resources of which every running task takes one. A run has its own places; runs share a host's other resources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The usage of a run, as other runs of its host see it.

    `takes`: by tasks that are running, places included, and by what ended ones have left for others. `keeps`: what came
    to stay. `wants`: what the next task takes, places included, when nothing is running.
    """

    takes: Mapping[Resource, int]
    keeps: Mapping[Resource, int]
    wants: Mapping[Resource, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class OthersUsage:
    """The usage of other runs. `held`: what they will give back, places included; `gone`: what they will not.

    Longer-waiting runs count as running (first come, first served).
    """

    held: Counter[Resource] = field(default_factory=Counter)
    gone: Counter[Resource] = field(default_factory=Counter)

    @property
    def at_work(self) -> bool:
        """Whether any of them has a task that is running, or is about to have one."""
        return bool(PLACES & self.held.keys())


NOBODY = OthersUsage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """The share of a host that a task takes besides its place."""

    uses: Mapping[Resource, int] = field(default_factory=dict)
    until_consumed: Mapping[Resource, int] = field(default_factory=dict)
    """Taken on until all tasks that need it are over: the disk of a build, until its conversion is over."""
    kept: Mapping[Resource, int] = field(default_factory=dict)
    """Stays in the store."""


NOTHING = Reservation()
