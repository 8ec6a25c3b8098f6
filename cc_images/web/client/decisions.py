"""Decisions of the client: whether to try again and when, what Ctrl-C means, with which code to leave. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

FINISHED, FAILED, CANCELLED = "FINISHED", "FAILED", "CANCELLED"
OVER = (FINISHED, FAILED, CANCELLED)
"""Statuses of builds that are over."""

REMOVED = "removed"
"""The end of a log of a build that is no longer in one's list."""

EXIT_FAILED, EXIT_INTERRUPTED = 3, 130

TEMPORARY = (408, 429, 502, 503, 504)
"""Statuses of answers after which the same request may be answered well later."""

_DIGEST = re.compile(r"\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*\Z")
_RANGE = re.compile(r"bytes (\d{1,18})-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to try again: for so many seconds, with waits that double up to the longest."""

    seconds: float
    shortest: float = 1.0
    longest: float = 30.0

    def wait(self, failures: int, spent: float, asked: float | None = None) -> float | None:
        """Return the seconds until the next attempt; None: there is none.

        `failures` happened one after the other, the first one `spent` seconds ago; the service has `asked` for a wait.
        """
        if spent >= self.seconds:
            return None
        wanted = min(self.longest, self.shortest * 2.0 ** min(failures - 1, 30))
        return min(max(wanted, min(asked or 0.0, 2 * self.longest)), max(self.shortest, self.seconds - spent))


BRIEF = Patience(seconds=15.0)
"""For a service that has not answered yet: its address may be wrong."""

LONG = Patience(seconds=1800.0)
"""For one that has answered: it starts again, or the network is away."""


class Interruption(StrEnum):
    """What to do when somebody interrupts the client amid a build."""

    ASK = "ask"
    CANCEL = "cancel"
    DETACH = "detach"
    GO_ON = "go on"


QUESTION = "cancel the build, detach from it, or go on? [c/d/G] "


def at_interrupt(count: int, wanted: str, *, askable: bool) -> Interruption:
    """Return what the interrupt with this number means; `wanted` by option, if that was given.

    `askable`: it came from a person at a terminal.
    """
    if count > 1:
        return Interruption.DETACH
    if wanted:
        return Interruption(wanted)
    return Interruption.ASK if askable else Interruption.DETACH


def meaning(answer: str) -> Interruption | None:
    """Return what the answer to the question means; None: ask again. An empty text is the end of input."""
    word = answer.strip().lower()
    if not answer or word in ("d", "detach"):
        return Interruption.DETACH
    if word in ("c", "cancel"):
        return Interruption.CANCEL
    return Interruption.GO_ON if word in ("", "g", "go on", "go") else None


def exit_code(status: str, code: int | None = None) -> int:
    """Return the exit code for a build that is over, as a run here would have it; `code`: that of its run, if known."""
    if status == FINISHED:
        return 0
    if status == CANCELLED:
        return EXIT_INTERRUPTED
    return code if code and 0 < code < 256 else EXIT_FAILED


def worst(codes: Sequence[int]) -> int:
    """Return the exit code of several builds: that of the first one that did not end well."""
    return next((code for code in codes if code), 0)


def sha256_of(header: str) -> str:
    """Return the sha256 in hexadecimal that a Repr-Digest header has; empty: it has none."""
    for each in header.split(","):
        if found := _DIGEST.match(each):
            try:
                return base64.b64decode(found[1], validate=True).hex()
            except binascii.Error:
                return ""
    return ""


def begins_at(header: str) -> int | None:
    """Return the first byte of a Content-Range header; None for what is none."""
    found = _RANGE.match(header)
    return int(found[1]) if found else None


def is_file_name(name: str) -> bool:
    """Say whether a name is that of a file in a folder, and of no hidden one."""
    return bool(name) and len(name.encode()) <= 240 and name.isprintable() and name[0] not in ".-" and "/" not in name
