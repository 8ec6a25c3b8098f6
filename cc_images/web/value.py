"""Requests as values: checked, canonical, with a key by which identical ones are found."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from cc_images.model.catalog import Json


class BadRequest(Exception):
    """A request that cannot be done; `field` names what is wrong, `status` says it in HTTP."""

    def __init__(self, field: str, message: str, *, status: int = 400) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A checked request."""

    kind: str
    content: Json

    @property
    def text(self) -> str:
        """The content as canonical JSON."""
        return json.dumps(self.content, sort_keys=True, separators=(",", ":"))

    @property
    def key(self) -> str:
        """Equal for identical requests."""
        return hashlib.sha256(f"{self.kind}\0{self.text}".encode()).hexdigest()

    @property
    def pushes(self) -> bool:
        """Whether it publishes."""
        return bool(self.content.get("push"))
