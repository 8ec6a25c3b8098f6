"""Amounts as people type them into forms: whole numbers, and sizes such as 50G. Empty is no amount."""

from __future__ import annotations

import re

UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def whole(text: str, most: int = 2**31 - 1, least: int = 0) -> int | None:
    """Return a whole number; None for an empty text. Raises ValueError with a sentence."""
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
        raise ValueError(f"a whole number from {least}" + (f" to {most}" if most < 2**31 - 1 else " on"))
    return int(text)


def size(text: str) -> int | None:
    """Return a size in bytes, with powers of 1024; None for an empty text. Raises ValueError with a sentence."""
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,6}) ?([KMGT]?)(I?B)?", text.upper()) or re.fullmatch(r"([0-9]{1,15})()()", text)
    if found is None:
        raise ValueError("a size such as 50G")
    return int(found[1]) << UNITS[found[2]]


def typed(count: int | None) -> str:
    """Return a size as it would be typed, without loss; empty for None."""
    if count is None:
        return ""
    letter = next((each for each in "TGMK" if count and count % (1 << UNITS[each]) == 0), "")
    return f"{count >> UNITS[letter]}{letter}"
