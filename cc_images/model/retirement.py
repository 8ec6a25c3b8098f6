"""Retirement as people see it: what becomes of old versions on sites, and what was done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from cc_images.model.catalog import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one version on a site, and when; `note` says why not, or what nobody can say."""

    site: str
    name: str
    version: str
    fate: str
    when: datetime
    due: bool = False
    note: str = ""

    def as_json(self) -> Json:
        """Return it as plain data."""
        return asdict(self) | {"when": self.when.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """What was done to the old versions of one image on a site, a phrase each; or the error that kept it from that."""

    site: str
    name: str
    done: tuple[str, ...] = ()
    error: str = ""

    def as_json(self) -> Json:
        """Return it as plain data."""
        return asdict(self)
