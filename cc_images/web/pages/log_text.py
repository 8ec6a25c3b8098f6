"""Parts of logs as text: the end, what stands before it, and the lines that have some words."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.web.files import cleaned

SHOWN = 256 << 10
"""Bytes of a log on one page."""

FOUND = 500
"""Lines that a search shows."""

LOOKED = 64 << 20
"""Bytes of a log that are searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a log, by its offsets in bytes, of whole lines."""

    start: int = 0
    end: int = 0
    size: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The lines of a log that have a text, each with its number; `more`: there are more of them."""

    lines: list[tuple[int, str]]
    more: bool


def part(path: Path, end: int = 0, *, whole: bool = True) -> Part:
    """Return the part of a log that ends at an offset, by default at its end; nothing where there is no log.

    A line at the end of a log that is not whole yet is left out, unless `whole` says that nothing comes any more.
    """
    with suppress(OSError), path.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        end = min(end or size, size)
        start = max(0, end - SHOWN)
        log.seek(start)
        found = log.read(end - start)
        if start:
            cut = found.find(b"\n") + 1  # the first line is in the part before
            start, found = start + cut, found[cut:]
        if not whole:
            found = found[: found.rfind(b"\n") + 1]
        return Part(start=start, end=start + len(found), size=size, text=_text(found))
    return Part()


def search(path: Path, words: str) -> Found:
    """Return the lines of a log that have a text, whether in capitals or not."""
    wanted, lines = words.lower(), list[tuple[int, str]]()
    with suppress(OSError), path.open("rb") as log:
        for number, raw in enumerate(log, 1):
            if wanted in (line := _text(raw).rstrip("\n")).lower():
                if len(lines) == FOUND:
                    return Found(lines=lines, more=True)
                lines.append((number, line))
            if log.tell() > LOOKED:
                return Found(lines=lines, more=True)
    return Found(lines=lines, more=False)


def _text(raw: bytes) -> str:
    return cleaned(raw).decode(errors="replace")
