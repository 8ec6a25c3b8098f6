"""The spool of an attempt's stream on a builder host: a file, and a thread that sends what is new in it.

What was said is kept here until the head has it, so a broken link loses no line.
"""

from __future__ import annotations

import json
import logging
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

FLUSH = 600.0
"""Seconds in all that the last lines get to reach the head."""

_log = logging.getLogger(__name__)


class Spool:
    """A stream that is said here and read at the head. `send` takes an offset and bytes; it returns the next offset."""

    def __init__(self, path: Path, send: Callable[[int, bytes], int]) -> None:
        self.path = path
        self._send = send
        self._lock = threading.Lock()
        self._new = threading.Event()
        self._over = threading.Event()
        self._file = path.open("wb")
        self._size, self._at = 0, 0
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def say(self, line: Json) -> None:
        """Add a line; it is on its way at once."""
        content = json.dumps(line).encode() + b"\n"
        with self._lock:
            if self._over.is_set():
                return
            self._file.write(content)
            self._file.flush()
            self._size += len(content)
        self._new.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._new.set()
        self._thread.join(FLUSH)
        self._file.close()

    def _run(self) -> None:
        with self.path.open("rb") as file:
            while self._at < self._size or not self._over.is_set():
                self._new.wait()
                self._new.clear()
                while self._at < self._size:
                    file.seek(self._at)
                    try:
                        self._at = self._send(self._at, file.read(MOST))
                    except Fenced:
                        return
                    except CCImagesError as error:
                        _log.warning("the stream waits: %s", error.message)
                        time.sleep(TRY_AGAIN)
