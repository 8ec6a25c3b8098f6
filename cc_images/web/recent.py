"""Answers of others as they were a moment ago: to ask them takes connections, and silent ones take time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from cc_images.errors import CCImagesError

T = TypeVar("T")

WAITING = 8
"""Callers that wait for an answer at a time; each has one of the service's threads, and silent hosts are no reason to
answer nobody."""

_log = logging.getLogger(__name__)


class Recent(Generic[T]):
    """Asks in a thread of its own, one question at a time, when somebody wants to know.

    `whom` says in the log who was asked; an answer is given again for `age` seconds, and while a newer one is awaited.
    """

    def __init__(self, whom: str, ask: Callable[[], T], age: float = 10.0) -> None:
        self._whom = whom
        self._ask = ask
        self._age = age
        self._lock = threading.Lock()
        self._known: T | None = None
        self._asked = 0.0
        self._answered = threading.Event()
        self._thread: threading.Thread | None = None
        self._places = threading.BoundedSemaphore(WAITING)

    def known(self, patience: float) -> T | None:
        """Return what is known; None when that is nothing, and nothing comes within so many seconds."""
        with self._lock:
            is_old = self._known is None or time.monotonic() - self._asked > self._age
            if is_old and (self._thread is None or not self._thread.is_alive()):
                self._answered.clear()
                self._thread = threading.Thread(target=self._question, name=self._whom, daemon=True)
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
            _log.warning("%s could not be asked: %s", self._whom, error.message)
        self._asked = time.monotonic()
        self._answered.set()
