"""Passwords: hashed by argon2, at most a few at a time, since each hash takes memory."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cc_images.errors import UserError

LEAST, MOST = 10, 200
"""Characters of a password."""

AT_ONCE = 2
"""Hashes that are computed at a time."""

REMEMBERED = 60.0
"""Seconds for which a right password is not hashed again: clients send it with every request."""


Attempt = Callable[[], Callable[[], None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The parameters of argon2; memory in KiB."""

    time: int = 3
    memory: int = 65536
    lanes: int = 2


class Unfit(UserError):
    """A name, password or invitation cannot be taken; `field` says which of them."""

    def __init__(self, field: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class Passwords:
    """Makes and checks hashes."""

    def __init__(self, cost: Cost | None = None) -> None:
        cost = cost or Cost()
        self._hasher = PasswordHasher(time_cost=cost.time, memory_cost=cost.memory, parallelism=cost.lanes)
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._nobody = ""
        """What a password is compared with that belongs to nobody; made when it is first needed."""
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, float] = {}

    def hashed(self, password: str) -> str:
        """Return the hash of a new password. Raises Unfit for one that is too short or too long."""
        if not LEAST <= len(password) <= MOST:
            raise Unfit("password", f"a password has {LEAST} to {MOST} characters")
        with self._places:
            return self._hasher.hash(password)

    def fits(self, known: str | None, password: str, attempt: Attempt | None = None) -> bool:
        """Say whether a password is the one of a hash; without a hash it takes as long, and is never right.

        `attempt` is called when it is this one's turn, and may raise; what it returns is called for a right one.
        """
        if len(password) > MOST:
            password = ""
        with self._places:
            forgive = attempt() if attempt is not None else None
            self._nobody = self._nobody or self._hasher.hash(secrets.token_hex())
            if not self._verified(known or self._nobody, password) or known is None:
                return False
            if forgive is not None:
                forgive()
        self._remember(self._mark(known, password))
        return True

    def remembers(self, known: str | None, password: str) -> bool:
        """Say whether a password was right a moment ago."""
        return known is not None and self._right.get(self._mark(known, password), 0.0) > time.monotonic()

    def _mark(self, known: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{known}\0{password}".encode(errors="replace"), hashlib.sha256)

    def _verified(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, password)
        except (VerificationError, InvalidHashError):
            return False

    def _remember(self, mark: bytes) -> None:
        now = time.monotonic()
        if len(self._right) > 1000:
            self._right = {each: until for each, until in self._right.items() if until > now}
        self._right[mark] = now + REMEMBERED
