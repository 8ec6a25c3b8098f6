"""Names of Slurm's nodes, as it writes several of them in one word: `gpu[1-3,07]-[a,b]`."""

from __future__ import annotations

import re
from collections.abc import Iterator

MOST = 4096
"""Names that one word may stand for."""

_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]|\[[A-Za-z0-9,-]+\])*\Z")


def node_names(word: str) -> list[str]:
    """Return the names that a word stands for, in order. Raises ValueError."""
    found: list[str] = []
    parts = re.findall(r"(?:[^,\[]|\[[^\]]*\])+", word)
    if ",".join(parts) != word:
        raise ValueError(f"{word!r} is no list of nodes")
    for part in parts:
        if not _WORD.match(part):
            raise ValueError(f"{part!r} is no name of nodes")
        for name in _expanded(part):
            found.append(name)
            if len(found) > MOST:
                raise ValueError(f"{word!r} stands for more than {MOST} nodes")
    if not found:
        raise ValueError(f"{word!r} names no node")
    return list(dict.fromkeys(found))


def _expanded(part: str) -> Iterator[str]:
    before, bracket, rest = part.partition("[")
    if not bracket:
        yield before
        return
    inner, _, after = rest.partition("]")
    for each in inner.split(","):
        for middle in _range(each):
            yield from (f"{before}{middle}{end}" for end in _expanded(after))


def _range(text: str) -> Iterator[str]:
    """Yield the numbers of a range as wide as its first one is written."""
    first, dash, last = text.partition("-")
    if not dash:
        yield first
    elif first.isdecimal() and last.isdecimal():
        yield from (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
    else:
        raise ValueError(f"{text!r} is no range of numbers")
