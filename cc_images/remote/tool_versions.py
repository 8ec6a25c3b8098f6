"""Versions of the tools whose digests are compared between hosts, for people: as Debian's package database has them.

A digest counts, and a version only says what it is: an equal file of another package is the same tool.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

PACKAGES: Mapping[str, str] = {
    "mmdebstrap": "mmdebstrap",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "mke2fs.conf": "e2fsprogs",
    "emulator": "qemu-user-static",
}
"""The package of each tool, by the first word of the tool's name."""

PATIENCE = 20.0
"""Seconds for an answer of the package database."""

_DIGEST = re.compile(r"[0-9a-f]{64}\b")


def with_versions(tools: Mapping[str, str]) -> dict[str, str]:
    """Return tools with the version behind each digest, where this host knows it."""
    known = _installed()
    found = {name: known.get(PACKAGES.get(name.partition(" ")[0], ""), "") for name in tools}
    return {
        name: f"{value} {found[name]}" if found[name] and _DIGEST.match(value) else value
        for name, value in tools.items()
    }


def is_same(one: str, other: str) -> bool:
    """Say whether two hosts have the same of a tool."""
    return one.partition(" ")[0] == other.partition(" ")[0]


def shown(value: str) -> str:
    """Return a tool for people: its version, if it has one, and the beginning of its digest."""
    digest, _, version = value.partition(" ")
    return f"{version} ({digest[:12]})" if version else digest[:12]


def _installed() -> dict[str, str]:
    """Return the versions of packages here; empty on a host without such a database."""
    command = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\\n", *sorted({*PACKAGES.values()})]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = (line.split() for line in done.stdout.splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}
