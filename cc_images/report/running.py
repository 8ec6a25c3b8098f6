"""A running task as a bar shows it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from cc_images.model.plan import Job
from cc_images.report import usual_shares
from cc_images.report.units import clipped, clock_time, size

RATE_OVER = 5.0
"""Seconds over which a rate is taken."""


NARROW = 79
"""Columns below which a line says what a task does before it says since when."""


@dataclass(slots=True)
class Running:
    """A task as a bar shows it. Times are of the monotonic clock; `usual` is in seconds."""

    name: str
    began: float
    usual: float | None = None
    job: Job | None = None
    doing: dict[str, str] = field(default_factory=dict)
    """Its present step, by who does it: the firmware of a boot test, or nobody."""
    done: int = 0
    total: int = 0
    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def step(self, doing: str) -> None:
        """Note its present step."""
        who, separator, what = doing.partition(": ")
        if not separator:
            self.doing.clear()
        self.doing.pop("", None)
        self.doing[who if separator else ""] = what if separator else doing

    def move(self, now: float, done: int, total: int) -> None:
        """Note its bytes."""
        self.done, self.total = done, total
        self.seen.append((now, done))
        while len(self.seen) > 2 and self.seen[0][0] < now - RATE_OVER:
            self.seen.popleft()

    @property
    def rate(self) -> float:
        """Bytes a second, lately."""
        (first, before), (last, after) = (self.seen[0], self.seen[-1]) if self.seen else ((0.0, 0), (0.0, 0))
        rate = (after - before) / (last - first) if last > first else 0.0
        return rate if math.isfinite(rate) else 0.0

    @property
    def words(self) -> str:
        """Its present step, in words."""
        return ", ".join(f"{who}: {what}" if who else what for who, what in self.doing.items())

    @property
    def part(self) -> float | None:
        """The usual progress at its present step, 0 to 1; None: not known."""
        return None if self.job is None else usual_shares.done(self.job, self.doing)

    def line(self, now: float, columns: int, blocks: str) -> str:
        """Return its bar in so many columns: name, bar, time, what it does; what does not fit goes, the bar first."""
        took = now - self.began
        if self.total:
            part = self.done / self.total
            times = f"{size(self.done)} of {size(self.total)}"
            times += f", {size(int(self.rate))}/s" if self.rate else ""
            times += f", {clock_time((self.total - self.done) / self.rate)} left" if self.rate > 0 else ""
        elif self.done:
            part, times = None, f"{size(self.done)}, {size(int(self.rate))}/s"
        elif self.usual is not None:
            part = min(0.99, took / self.usual) if self.usual else None
            left = f"about {clock_time(self.usual - took)} left" if took < self.usual else "longer than usual"
            times = f"{clock_time(took)}, {left}"
        else:
            part, times = self.part, f"{clock_time(took)}, no earlier run"
        bar = bar_of(part, 12 if columns < 100 else 20, blocks)
        whole = "  ".join(filter(None, (self.name, bar, times, self.words)))
        if len(whole) <= columns:
            return whole
        rest = (times, self.words)
        kept = "  ".join(filter(None, (self.name, *rest)))
        if columns < NARROW and len(kept) > columns:
            kept = "  ".join(filter(None, (self.name, *rest[::-1])))
        return clipped(kept, columns)


def bar_of(part: float | None, columns: int, blocks: str) -> str:
    """Draw a part of 1 with two characters, done and left; nothing for None."""
    if part is None:
        return ""
    full = int(min(1.0, max(0.0, part)) * columns)
    return blocks[0] * full + blocks[1] * (columns - full)
