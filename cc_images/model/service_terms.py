"""The terms of a service: who may make an account, how much may run, wait and be kept, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SignUp(StrEnum):
    """Who may make an account."""

    OFF = "off"
    OPEN = "open"
    INVITATION = "invitation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Builds that run at a time in all; of one account those that run and wait, and the bytes that it keeps."""

    places: int = 2
    running: int = 2
    waiting: int = 20
    bytes: int | None = None
    """None: as many as there is room for."""
    days: int = 90
    """Days for which the log of a build is kept after its end."""
