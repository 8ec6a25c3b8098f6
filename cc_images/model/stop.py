"""A request to end."""

from __future__ import annotations

from typing import Protocol


class Stop(Protocol):
    """A request to end, such as threading.Event."""

    def is_set(self) -> bool:
        """Say whether the work shall end."""
