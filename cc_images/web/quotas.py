"""Quotas: what an account uses, what it may, and whether a request is beyond that.

The bytes that an account keeps are those of stored versions that builds in its list have made. A build that is removed
from the list frees its bytes; the versions stay in the store as long as its own rules say.
"""

from __future__ import annotations

from dataclasses import dataclass

from cc_images.api.stored_images import stored_files
from cc_images.report.units import size
from cc_images.web.catalogue import Catalogue
from cc_images.web.queue import Full, Queue
from cc_images.web.tables import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Builds that run and wait, and bytes; of limits None is no limit."""

    running: int
    waiting: int
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """The quotas of all accounts."""

    queue: Queue
    catalogue: Catalogue

    def most(self, account: Account) -> Quota:
        """Return what an account may use."""
        limits = self.queue.limits
        return Quota(
            running=limits.running if account.most_running is None else account.most_running,
            waiting=limits.waiting if account.most_waiting is None else account.most_waiting,
            bytes=limits.bytes if account.most_bytes is None else account.most_bytes,
        )

    def used(self, account: Account) -> Quota:
        """Return what an account uses."""
        running, waiting = self.queue.use(account)
        return Quota(running=running, waiting=waiting, bytes=self.kept(account))

    def kept(self, account: Account) -> int:
        """Return the bytes that an account keeps."""
        made = self.queue.made(account)
        files = stored_files(self.catalogue.config, made) if made else ()
        return sum({each.digest: each.size for each in files}.values())

    def check(self, account: Account) -> None:
        """Check that an account may have something made that takes room. Raises Full."""
        most = self.most(account).bytes
        if most is not None and (kept := self.kept(account)) >= most:
            raise Full(
                f"you keep {size(kept)} of at most {size(most)}: remove builds that are over from your list "
                "(DELETE /build/ID), or ask an administrator for more",
                lasts=True,
            )
