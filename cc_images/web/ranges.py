"""Byte ranges of HTTP. Pure."""

from __future__ import annotations

import re

_ONE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


class Unsatisfiable(Exception):
    """A range begins behind the end."""


def wanted(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one behind the last of a Range header; None: all.

    Several ranges at once, and what is no range, count as all. Raises Unsatisfiable.
    """
    found = _ONE.match(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        last = int(found[2])
        if not last:
            raise Unsatisfiable
        return max(0, size - last), size
    first = int(found[1])
    behind = min(int(found[2]) + 1, size) if found[2] else size
    if found[2] and int(found[2]) < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return first, behind
