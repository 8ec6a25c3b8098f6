"""The interface of a launcher: start an attempt's job on a builder host, look at it, end it.

To add a kind of builder host: a module here with a class that has these methods, and its line in `kinds`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from cc_images.model.attempt import JobState, Ticket
from cc_images.model.catalog import Json


class Launcher(Protocol):
    """A way to run `cc-images perform -` on one builder host. Jobs are found by their attempt's id."""

    def facts(self) -> Json | None:
        """Return what the host says of itself, see `survey`; None: nobody can say before a job runs there.

        Raises CCImagesError when it does not answer.
        """

    def open(self) -> str:
        """Make ready; return the hub's address as jobs see it. Raises CCImagesError."""

    def close(self) -> None:
        """Let go of what `open` holds. Jobs go on."""

    def start(self, ticket: Ticket) -> None:
        """Start the job of an attempt; the ticket goes to its standard input. Raises CCImagesError.

        After an error the job may run all the same: the answer may be lost.
        """

    def look(self, attempts: Collection[str]) -> Mapping[str, JobState]:
        """Return the state of each job; UNKNOWN for one that is not known, or when nobody answers. Never raises."""

    def trouble(self) -> str:
        """Return why the host cannot be reached now; empty when it can, or when nobody can say. Never raises."""

    def destroyed(self, attempt: str) -> bool:
        """Say whether the machine that was made for an attempt is gone; False for hosts that stay."""

    def cancel(self, attempt: str) -> None:
        """End a job with all its processes, if it is there. Raises CCImagesError when nobody answers."""
