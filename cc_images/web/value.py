"""Requests as values: checked, canonical, with a key by which identical ones are found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cc_images.model.catalog import Json

EXPECTED = {
    "missing": "is missing",
    "extra_forbidden": "there is no such key",
    "list_type": "a list is expected",
    "dict_type": "a mapping is expected",
    "string_type": "a text is expected",
    "bool_type": "true or false is expected",
    "int_type": "a whole number is expected",
    "int_parsing": "a whole number is expected",
    "too_short": "at least {min_length} is needed",
    "too_long": "at most {max_length} can be named",
}
"""What a request must have, in plain words, by the kind of a mistake of pydantic."""


def mistake(found: Mapping[str, Any]) -> str:
    """Return a mistake that pydantic has found in plain words."""
    words = EXPECTED.get(found["type"])
    said: str = words.format(**found.get("ctx", {})) if words else found["msg"]
    return said


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
