"""Server-sent events, as they come a line at a time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cc_images.model.plain_text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event: its kind (empty: lines of a log), its id as a number, and its lines without control characters."""

    kind: str
    number: int | None
    lines: tuple[str, ...]


def events(lines: Iterable[bytes]) -> Iterator[Event]:
    """Yield the events of a stream. One that is not complete does not count."""
    kind, number, data = "", None, list[str]()
    for raw in lines:
        line = raw.rstrip(b"\r\n").decode(errors="replace")
        if not line:
            if data:
                yield Event(kind=kind, number=number, lines=tuple(data))
            kind, number, data = "", None, []
            continue
        name, _, said = line.partition(":")
        said = said.removeprefix(" ")
        match name:
            case "event":
                kind = said
            case "id":
                number = int(said) if said.isascii() and said.isdecimal() and len(said) < 17 else None
            case "data":
                data.append(printable(said, "\t"))
            case _:
                pass  # a comment, or a wish about the time between attempts
