"""Other hosts as a run sees them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from cc_images.engine.envelope import Envelope
from cc_images.engine.execute import Pool
from cc_images.model.plan import Task
from cc_images.store.run_context import RunContext


class Elsewhere(Protocol):
    """Other hosts: which tasks they do, how many images at a time, and the pools of these tasks."""

    @property
    def tasks(self) -> Collection[str]:
        """The tasks that are not done on this host."""

    @property
    def places(self) -> int:
        """How many images they work on at a time."""

    @property
    def here(self) -> int:
        """How many builds this host does at a time besides."""

    def opened(
        self, envelope: Callable[[Task], Envelope], context: RunContext
    ) -> AbstractContextManager[Mapping[str, Pool]]:
        """Give the pool of each of these tasks; in the end nothing of them is left at work."""
