"""Pulls: what became of each image of a catalogue on each site."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cc_images.model.catalog import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """One image of a catalogue on one site: its version before and after, or the `error` for which it stays."""

    site: str
    name: str
    before: str = ""
    after: str = ""
    done: bool = False
    note: str = ""
    error: str = ""

    def as_json(self) -> Json:
        """Return it as plain data."""
        return asdict(self)
