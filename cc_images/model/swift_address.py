"""Addresses of containers in Swift: `swift://CLOUD/CONTAINER`, where CLOUD is an entry of clouds.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "swift://"

FORM = re.compile(r"swift://([^/\s]+)/([^/]{1,256})(?:/(.+?))?/*\Z")


@dataclass(frozen=True, slots=True)
class SwiftAddress:
    """A container, and a path in it; an empty one is the container itself."""

    cloud: str
    container: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> SwiftAddress:
        """Return the address that a text is. Raises ValueError for one that is none."""
        if (found := FORM.match(text)) is None:
            raise ValueError(f"{text} is no address such as swift://CLOUD/CONTAINER")
        return cls(found[1], found[2], found[3] or "")
