"""The builder hosts as they stood a moment ago: to ask them takes connections, and silent ones take time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from cc_images.errors import CCImagesError
from cc_images.model.fleet import FleetStatus

AGE = 10.0
"""Seconds for which an answer is given again."""

WAITING = 8
"""Callers that wait for an answer at a time; each has one of the service's threads, and silent hosts are no reason to
answer nobody."""

_log = logging.getLogger(__name__)


class Fleet:
    """Asks in a thread of its own, one question at a time, when somebody wants to know."""

    def __init__(self, ask: Callable[[], FleetStatus]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: FleetStatus | None = None
        self._asked = 0.0
        self._answered = threading.Event()
        self._thread: threading.Thread | None = None
        self._places = threading.BoundedSemaphore(WAITING)

    def status(self, patience: float) -> FleetStatus | None:
        """Return what is known; None when that is nothing, and nothing comes within so many seconds."""
        with self._lock:
            is_old = self._known is None or time.monotonic() - self._asked > AGE
            if is_old and (self._thread is None or not self._thread.is_alive()):
                self._answered.clear()
                self._thread = threading.Thread(target=self._question, name="fleet", daemon=True)
                self._thread.start()
            answered = self._answered
        if self._places.acquire(blocking=False):
            try:
                answered.wait(patience if self._known is None else min(patience, 0.3))
            finally:
                self._places.release()
        return self._known

    def _question(self) -> None:
        try:
            self._known = self._ask()
        except CCImagesError as error:
            _log.warning("the builder hosts could not be asked: %s", error.message)
        self._asked = time.monotonic()
        self._answered.set()
