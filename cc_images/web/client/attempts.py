"""Attempts: a request that the network has cut is sent again, with growing waits and one message."""

from __future__ import annotations

import time
from collections.abc import Callable

from cc_images.web.client.connection import Cut
from cc_images.web.client.decisions import BRIEF, LONG, Patience

STEADY = 10.0
"""Seconds after which a connection counts as a good one, also when nothing came by it."""


class Attempts:
    """Counts the failures since something worked. `tell` gets messages for people."""

    def __init__(
        self,
        tell: Callable[[str], None],
        brief: Patience = BRIEF,
        long: Patience = LONG,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._tell = tell
        self._patience = brief
        self._long = long
        self._sleep = sleep
        self._failures = 0
        self._began = 0.0
        self._answered: float | None = None
        self._silent = True

    def answered(self) -> None:
        """Note that the service has answered: from now on there is reason to wait for it."""
        self._patience = self._long
        self._answered = time.monotonic()
        if not self._silent:
            self._tell("the service answers again")
            self._silent = True

    def moved(self) -> None:
        """Note that something came of it: failures that follow are new ones."""
        self._failures = 0

    def failed(self, error: Cut) -> None:
        """Note a failure, and wait until the next attempt. Raises the error if there is none."""
        now = time.monotonic()
        if self._answered is not None and now - self._answered > STEADY:
            self._failures = 0
        self._answered = None
        if not self._failures:
            self._began = now
        self._failures += 1
        wait = self._patience.wait(self._failures, now - self._began, error.after)
        if wait is None:
            raise error
        if self._failures == 1:
            seconds = self._patience.seconds
            limit = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
            self._tell(f"{error.message}; it is tried again for {limit}")
            self._silent = False
        self._sleep(wait)
