"""The levels of a boot: how long each may take, and how far a guest got.

A limit is long enough for a slow host: software emulation gets a multiple, from the login prompt on the guest's own
pace counts, and time in which it had no core counts nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cc_images.boottest.console import Console
from cc_images.errors import Interrupted
from cc_images.model.catalog import Contract, Level
from cc_images.model.stop import Stop

LIMITS: Mapping[Level, float] = {
    Level.FIRMWARE: 15,
    Level.LOADER: 60,
    Level.KERNEL: 30,
    Level.LOGIN: 60,
    Level.CLOUD_INIT: 60,
    Level.SSH: 4,
    Level.SYSTEM: 30,
    Level.CHECKS: 60,
}
"""Seconds that an accelerated guest gets for a level after the one before."""

LEAST_SSH = 15.0
"""Seconds that a fast guest gets for what should be there when cloud-init has finished: sshd, a login prompt."""

SOFTWARE = 8.0
"""How much longer a guest gets that is emulated in software; not for the boot loader, which needs no speed."""

USUAL_LOGIN = 10.0
"""Seconds from power-on to the login prompt in an accelerated guest: from then on the guest's own pace is known."""

ORDER = tuple(Level)


class Booting(Protocol):
    """A guest, as far as its levels are concerned."""

    contract: Contract
    console: Console


@dataclass(slots=True, kw_only=True)
class BootResult:
    """How far a boot got: seconds since power-on per level, and the level that failed with the reason, if any."""

    levels: dict[Level, float] = field(default_factory=dict)
    failed: Level | None = None
    problems: list[str] = field(default_factory=list)
    host_keys: tuple[str, ...] = ()
    machine_id: str = ""
    silent: bool = False
    """Whether the machine printed nothing any more before the level that failed: it may be the host's fault."""
    timed_out: str = ""
    """The step that took longer than the guest itself waits, in its own words: a slow host may be at fault."""
    starved: float = 0.0
    """The part of the time until the failure in which the machine had no core, 0 to 1."""

    @property
    def reached(self) -> Level | None:
        """The highest level."""
        return max(self.levels, key=ORDER.index, default=None)

    def is_beyond(self, other: BootResult) -> bool:
        """Say whether this boot got further than another one that failed."""
        assert other.failed is not None
        return self.failed is None or ORDER.index(self.failed) > ORDER.index(other.failed)

    def fail(self, level: Level, *problems: str) -> None:
        """Note the level that is not reached, and why; later levels do not count."""
        self.failed = level
        self.levels = {each: at for each, at in self.levels.items() if ORDER.index(each) < ORDER.index(level)}
        self.problems += problems


def wanted(guest: Booting) -> Level:
    """Return the highest level that is wanted."""
    return guest.contract.level or Level.CHECKS


def is_wanted(guest: Booting, level: Level) -> bool:
    """Say whether a level is asked for."""
    return ORDER.index(level) <= ORDER.index(wanted(guest))


def soon(guest: Booting) -> float:
    """Return the seconds in which what should be there already must show."""
    return max(LEAST_SSH, LIMITS[Level.SSH] * pace(guest))


def pace(guest: Booting) -> float:
    """Return how many times slower than usual the guest runs; at least 1, also for a fast one."""
    login = guest.console.levels.get(Level.LOGIN) or guest.console.levels.get(Level.CLOUD_INIT) or 0.0
    return max(1.0, login / USUAL_LOGIN)


def not_stopped(stop: Stop) -> None:
    """Raise Interrupted when the boot test shall end."""
    if stop.is_set():
        raise Interrupted("the boot test was stopped")
