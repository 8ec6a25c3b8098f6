"""The spool of an attempt's stream on a builder host: a file, and a thread that sends what is new in it.

What was said is kept here until the head has it, so a broken link loses no line. What the disk has no room for is kept
in memory: who has to say that the disk is full must not depend on it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from cc_images.errors import CCImagesError
from cc_images.model.catalog import Json
from cc_images.remote.protocol import Fenced

MOST = 256 << 10
"""Bytes of one message."""

TRY_AGAIN = 1.0
"""Seconds between two tries when the link is broken."""

TICK = 0.2
"""Seconds between two looks whether the last lines are through."""

FLUSH = 600.0
"""Seconds in all that the last lines get to reach the head."""

_log = logging.getLogger(__name__)


class Spool:
    """A stream that is said here and read at the head. `send` takes an offset and bytes; it returns the next offset."""

    def __init__(
        self, path: Path, send: Callable[[int, bytes], int], counts: Callable[[], bool] = lambda: True
    ) -> None:
        """Take the file, the way to the head, and whether what is said still counts there."""
        self.path = path
        self._counts = counts
        self._send = send
        self._lock = threading.Lock()
        self._new = threading.Event()
        self._over = threading.Event()
        self._file: int | None = None
        self._filed, self._size, self._at = 0, 0, 0
        self._rest = bytearray()
        """What is said since the file could not be written to: the bytes from `_filed` on."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            _log.warning("%s: %s", path, error.strerror)
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def say(self, line: Json) -> None:
        """Add a line; it is on its way at once."""
        content = json.dumps(line).encode() + b"\n"
        with self._lock:
            if self._over.is_set():
                return
            self._size += len(content)
            self._rest += content[self._written(content) :]
        self._new.set()

    def _written(self, content: bytes) -> int:
        """Write to the file; return how many bytes of it there was room for."""
        before = self._filed
        try:
            while self._file is not None and not self._rest and self._filed - before < len(content):
                self._filed += os.pwrite(self._file, content[self._filed - before :], self._filed)
        except OSError as error:
            _log.warning("%s: %s", self.path, error.strerror)
        return self._filed - before

    def _piece(self) -> bytes:
        """Return the next bytes that the head does not have."""
        with self._lock:
            if self._file is not None and self._at < self._filed:
                return os.pread(self._file, min(MOST, self._filed - self._at), self._at)
            first = self._at - self._filed
            return bytes(self._rest[first : first + MOST])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._new.set()
        until = time.monotonic() + FLUSH
        while self._thread.is_alive() and self._counts() and time.monotonic() < until:
            self._thread.join(TICK)
        if self._file is not None and not self._thread.is_alive():
            os.close(self._file)

    def _run(self) -> None:
        while self._at < self._size or not self._over.is_set():
            self._new.wait()
            self._new.clear()
            while self._at < self._size:
                try:
                    self._at = self._send(self._at, self._piece())
                except Fenced:
                    return
                except CCImagesError as error:
                    if self._over.is_set() and not self._counts():
                        return
                    _log.warning("the stream waits: %s", error.message)
                    time.sleep(TRY_AGAIN)
