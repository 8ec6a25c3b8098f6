"""Throttles: how often something may happen within a time, by who does it. Kept in memory alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

MOST_KNOWN = 10_000
"""Keys that are remembered; beyond that those that would be free soonest are forgotten."""


class TooMany(Exception):
    """It happened too often; it may again after `wait` seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many attempts; try again in {wait:.0f} s")
        self.wait = wait


class Throttle:
    """Lets `most` things of a key happen at once, and one more each `seconds / most`."""

    def __init__(self, most: int, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._each = seconds / most
        self._span = seconds
        self._now = now
        self._free: dict[Hashable, float] = {}
        """When all that a key has done will be forgotten."""
        self._lock = threading.Lock()

    def forgive(self, key: Hashable) -> None:
        """Take back an attempt that was counted."""
        with self._lock:
            if key in self._free:
                self._free[key] -= self._each

    def take(self, key: Hashable) -> None:
        """Count an attempt. Raises TooMany for one that may not be made."""
        with self._lock:
            now = self._now()
            free = max(self._free.get(key, 0.0), now) + self._each
            if free - self._span - now > 1e-6:
                raise TooMany(max(1.0, free - self._span - now))
            self._free[key] = free
            if len(self._free) > MOST_KNOWN:
                kept = sorted(self._free.items(), key=lambda item: item[1])[MOST_KNOWN // 2 :]
                self._free = {each: until for each, until in kept if until > now}
