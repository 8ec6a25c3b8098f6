"""Words of the configuration that are not values: those that no tag may be, and exceptions by name."""

from __future__ import annotations

RESERVED = frozenset(
    {"all", "boot", "build", "complete", "completion", "diff", "doctor", "explain", "help", "inspect", "list", "new",
     "plan", "promote", "prune", "push", "report", "scheduled", "show", "status", "version"}
)  # fmt: skip
"""Words of the command line that no tag may be."""

ALLOWED = ("ignored-hooks", "unread-partitions", "private-programs", "keys", "passwords")
"""Exceptions that an image may allow by name."""
