"""Places on builder hosts, which all runs of a store share: a lock each, which ends with the process that has it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping

from cc_images.host.files import try_lock
from cc_images.store.records import Store

AGAIN = 0.5
"""Seconds after which a host is looked at again whose places other runs had."""


class Places:
    """The places that this process has taken; without a store nobody shares them. Its callers take turns."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._taken: dict[str, list[int]] = {}
        """Descriptors of locks by host; without a store, numbers."""
        self._full: dict[str, float] = {}
        """Hosts without a free place, and when that was seen."""

    @property
    def taken(self) -> int:
        """How many places this process has taken."""
        return sum(map(len, [*self._taken.values()]))

    def load(self, limits: Mapping[str, int]) -> Counter[str]:
        """Return how many places of each host are taken, as far as is known."""
        now = time.monotonic()
        self._full = {name: at for name, at in self._full.items() if now - at < AGAIN}
        own = Counter({name: len(each) for name, each in self._taken.items()})
        return own | Counter({name: limits.get(name, 0) for name in self._full})

    def take(self, name: str, most: int) -> bool:
        """Take a place of a host, if there is one."""
        mine = self._taken.setdefault(name, [])
        if self._store is None:
            mine.append(len(mine))
            return True
        for number in range(most):
            if (found := try_lock(self._store.lock_path(f"place {name} {number}"))) is not None:
                mine.append(found)
                return True
        self._full[name] = time.monotonic()
        return False

    def give(self, name: str) -> None:
        """Give a place of a host back."""
        descriptor = self._taken[name].pop()
        self._full.pop(name, None)
        if self._store is not None:
            os.close(descriptor)
