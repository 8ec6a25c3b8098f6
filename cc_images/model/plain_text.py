"""Text of programs without the control sequences that steer a terminal."""

from __future__ import annotations

import re
from typing import Any

_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[A-Za-z]"  # CSI
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC, DCS and their like, with what they carry
    r"|\x1b[()][A-Z0-9]|\x1b."
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def printable(text: str, kept: str = "", instead: str = "?") -> str:
    """Return a text of others as it may be printed: `instead` stands for what may not, but for those kept."""
    return "".join(each if each.isprintable() or each in kept else instead for each in text)


def all_printable(value: Any) -> Any:
    """Return plain data of others whose texts, names of keys among them, may be printed; lines and tabs are kept."""
    if isinstance(value, str):
        return printable(value, "\n\t")
    if isinstance(value, list):
        return [all_printable(each) for each in value]
    if isinstance(value, dict):
        return {all_printable(name): all_printable(each) for name, each in value.items()}
    return value


def brief(text: str, most: int = 60) -> str:
    """Return a text of others in quotes, on one line, with its beginning alone where it is long."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}… ({len(text)} characters)"


def clean(raw: bytes) -> str:
    """Return console output as text without control sequences."""
    return _CONTROL.sub("", raw.decode(errors="replace"))
