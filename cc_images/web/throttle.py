"""Throttles: how often something may happen within a time, or how many times at once. Kept in memory alone."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress

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


class Places:
    """Lets `most` things of a key happen at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> Callable[[], None]:
        """Take a place; return what gives it back, once. Raises TooMany."""
        with self._lock:
            if self._taken[key] >= self._most:
                raise TooMany(5.0)
            self._taken[key] += 1
        left = [key]

        def leave() -> None:
            with self._lock:
                self._taken.subtract(left)
                self._taken += Counter()  # forgets those that have none
                left.clear()

        return leave


def network(address: str) -> str:
    """Return what attempts are counted by: an address, or the network of an IPv6 host, which has more than it needs."""
    with suppress(ValueError):
        found = ipaddress.ip_address(address)
        if found.version == 6 and not found.is_loopback:
            return str(ipaddress.ip_network((found, 64), strict=False))
    return address
