"""How commands of the stand-in end: with a message, or by a fault that a test has asked for."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import Final


class Refused(Exception):
    """What ends a command: a message, and its exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Fault:
    """One fault, `NAME` or `NAME=VALUE`; no fault without a name.

    exit=CODE        every command ends at once and says nothing
    die-after=N      SIGKILL after the N-th package that a command has pushed
    digest=PACKAGE   its manifest names other bytes than there are
    foreign=PACKAGE  its spec is that of another package
    torn=PACKAGE     SIGKILL amid its manifest
    full=PACKAGE     no space amid its archive
    hang=PACKAGE     its compilation has no end
    garbage, newer   the lock that is written is no JSON; it is of a later format
    """

    name: str
    value: str

    @classmethod
    def of(cls, said: str) -> Fault:
        """Return the fault that a variable names."""
        name, _, value = said.partition("=")
        known = ("", "exit", "die-after", "digest", "foreign", "torn", "full", "hang", "garbage", "newer")
        assert name in known, f"no fault: {said}"
        return cls(name, value)

    def hits(self, name: str, value: object = "") -> bool:
        """Say whether this is the fault, of a package or number if one is given."""
        return self.name == name and self.value == str(value)


FAULT: Final = Fault.of(os.environ.get("CC_STANDIN_SPACK", ""))


def die() -> None:
    """End this process as SIGKILL does: it clears nothing up."""
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
