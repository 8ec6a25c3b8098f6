"""Pending updates: packages of which an image lacks a later version that its repositories offer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import date

from cc_images.model.catalog import Arch, Json, Waiver


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A package of which a later version is offered; `security`: one that a security suite has is later, too.

    `flaws` are the vulnerabilities that a feed says to be mended by it, by their numbers.
    """

    name: str
    has: str
    offered: str
    security: bool = False
    flaws: tuple[str, ...] = ()

    @property
    def urgent(self) -> bool:
        """Whether it is one for security."""
        return self.security or bool(self.flaws)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What the version of an image on a site lacks; `ignored` is what is waived, `unknown` why nobody can say."""

    site: str
    name: str
    tag: str
    arch: Arch
    version: str
    updates: tuple[Update, ...] = ()
    ignored: tuple[Update, ...] = ()
    unknown: str = ""

    @property
    def urgent(self) -> list[Update]:
        """The updates for security."""
        return [each for each in self.updates if each.urgent]

    def as_json(self) -> Json:
        """Return it as plain data."""
        return asdict(self)


def is_waived(update: Update, waivers: Collection[tuple[str, Waiver]], today: date) -> bool:
    """Say whether an update may wait: its package is waived, or each vulnerability that it mends."""
    names = {name for name, waiver in waivers if waiver.until is None or today <= waiver.until}
    return update.name in names or (bool(update.flaws) and names.issuperset(update.flaws))
