"""Words that are not values: those that no tag may be, exceptions by name, and warnings."""

from __future__ import annotations

RESERVED = frozenset(
    {"account", "all", "bases", "boot", "build", "build-request", "builder-node", "builders", "cancel",
     "catalogue-page", "check", "check-updates", "cluster", "complete", "completion", "delta", "diff", "doctor",
     "download", "explain", "fetch", "help", "hold", "inspect", "list", "log", "new", "perform", "plan", "promote",
     "prune", "pull", "push", "release", "remote", "report", "retire", "rollback", "sbom", "scheduled", "serve",
     "shell", "show", "status", "store", "verify", "version"}
)  # fmt: skip
"""Words of the command line that no tag may be."""

ALLOWED = ("ignored-hooks", "unread-partitions", "private-programs", "keys", "passwords")
"""Exceptions that an image may allow by name."""

UNTESTED = "--no-boot-test: images are pushed that may not boot; their property build-boot says so"
"""The warning about pushes without a boot test."""

KEPT = "--keep-failed: the tree of a build that fails is kept until a good build of the image"
"""The note about trees that are kept."""
