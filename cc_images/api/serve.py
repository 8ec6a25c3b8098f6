"""Serving a store to builder hosts."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from cc_images.config.loader import Config
from cc_images.remote.hub import Hub
from cc_images.remote.protocol import Limits
from cc_images.store.records import Store


def serve(config: Config, listen: str, tls: tuple[Path, Path] | None) -> AbstractContextManager[str]:
    """Return what serves the store while it is entered, and yields its address. Raises UserError."""
    return Hub(Store(config.store), listen, tls, Limits(require_run=True)).serving()
