"""A file, or a part of one, as the body of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cc_images.errors import Interrupted
from cc_images.host.files import CHUNK
from cc_images.model.stop import Stop


class Body:
    """A file as the body of a request: from its beginning each time it is sent, and of known length.

    `start` is the byte that a part begins with. `digests` are hashes of what precedes the part; its bytes are added to
    copies of them.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        stop: Stop,
        report: Callable[[int], None],
        *,
        start: int = 0,
        digests: Mapping[str, Any] | None = None,
    ) -> None:
        self._path, self._size, self._stop, self._report = path, size, stop, report
        self._start, self._before = start, digests or {}
        self.digests: dict[str, Any] = {}
        """Hashes of everything up to the end of the part, once all bytes have left."""
        self.left = False
        """Whether all bytes have left."""

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        done, self.left = 0, False
        self.digests = {name: each.copy() for name, each in self._before.items()}
        with self._path.open("rb") as file:
            file.seek(self._start)
            while chunk := file.read(min(CHUNK, self._size - done)):
                if self._stop.is_set():
                    raise Interrupted("the push was stopped")
                for each in self.digests.values():
                    each.update(chunk)
                yield chunk
                done += len(chunk)
                self._report(self._start + done)
        self.left = True
