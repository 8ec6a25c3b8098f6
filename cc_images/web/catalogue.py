"""The configuration of a service, read again when one of its files has changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cc_images.config.loader import Config
from cc_images.errors import CCImagesError

_log = logging.getLogger(__name__)


class Catalogue:
    """The configuration in force. While a changed file is wrong, what was read before stays in force."""

    def __init__(self, load: Callable[[], Config]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._config = load()
        self._stamp = _stamp(self._config)

    @property
    def config(self) -> Config:
        """The configuration."""
        with self._lock:
            if (stamp := _stamp(self._config)) != self._stamp:
                self._stamp = stamp
                try:
                    self._config = self._load()
                except CCImagesError as error:
                    _log.warning("the configuration has changed and is wrong; the old one stays: %s", error.message)
                else:
                    self._stamp = _stamp(self._config)
            return self._config


def _stamp(config: Config) -> dict[Path, tuple[int, int, int]]:
    found: dict[Path, tuple[int, int, int]] = {}
    for path in (*config.files.values(), *config.beside):
        with suppress(OSError):
            status = path.stat()
            found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found
