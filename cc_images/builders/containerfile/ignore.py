"""Ignore files of build contexts. Pure.

Rules: "dockerignore file" of the Docker documentation. The last pattern that matches a file or one of its folders
decides; patterns begin at the context's root; `!` takes a file back in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from cc_images.errors import Reason, UserError


def ignored(text: str) -> Callable[[str], bool]:
    """Return a function that tells whether a path, below the context and with slashes, is left out.

    Raises UserError for a pattern that is none.
    """
    rules = [(line.startswith("!"), _compiled(line.lstrip("!").strip())) for line in _patterns(text)]

    def left_out(path: str) -> bool:
        found = False
        for takes_in, pattern in rules:
            if found == takes_in and pattern.match(path):
                found = not takes_in
        return found

    return left_out


def _patterns(text: str) -> Iterator[str]:
    for line in text.removeprefix("\ufeff").splitlines():
        stripped = line.strip()
        if stripped and not line.startswith("#") and stripped.lstrip("!").strip().strip("/") not in ("", "."):
            yield stripped


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return an expression that matches what a pattern names, and all below that."""
    words: list[str] = []
    for word in pattern.split("/"):
        if word == "..":
            words = words[:-1]
        elif word not in ("", "."):
            words.append(word)
    text = ""
    for number, word in enumerate(words):
        last = number == len(words) - 1
        if word == "**":
            text += ".*" if last else "(?:.*/)?"
        else:
            text += _word(word, pattern) + ("" if last else "/")
    try:
        return re.compile(rf"{text}(?:/.*)?\Z", re.DOTALL)
    except re.error as error:
        raise _wrong(pattern) from error


def _word(word: str, pattern: str) -> str:
    """Return the expression of one part of a pattern."""
    text, place = "", 0
    while place < len(word):
        sign = word[place]
        place += 1
        if sign == "*":
            inner = word[place : place + 1] == "*"
            place += inner
            text += ".*" if inner else "[^/]*"
        elif sign == "?":
            text += "[^/]"
        elif sign == "\\" and place < len(word):
            text += re.escape(word[place])
            place += 1
        elif sign == "[":
            inside, place = _class(word, place, pattern)
            text += rf"(?!/){inside}"
        else:
            text += re.escape(sign)
    return text


def _class(word: str, place: int, pattern: str) -> tuple[str, int]:
    """Return the expression of a class of characters, and the place after it; a backslash takes a sign as it is."""
    inside = "^" if word[place : place + 1] == "^" else ""
    place += len(inside)
    while place < len(word) and word[place] != "]":
        sign = word[place]
        if sign == "\\" and place + 1 < len(word):
            place += 1
            sign = word[place]
            inside += re.escape(sign)
        else:
            inside += sign if sign == "-" else re.escape(sign)
        place += 1
    if place >= len(word) or inside in ("", "^"):
        raise _wrong(pattern)
    return f"[{inside}]", place + 1


def _wrong(pattern: str) -> UserError:
    return UserError(f"the ignore file: {pattern} is no pattern", hint="correct it", reason=Reason.VALUE)
