"""Signatures as people see them: who has signed what."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cc_images.model.catalog import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """One image on a site, or one file: who has signed it, or the `error` for which nobody counts."""

    where: str
    name: str
    version: str = ""
    signer: str = ""
    error: str = ""

    def as_json(self) -> Json:
        """Return it as plain data."""
        return asdict(self)
