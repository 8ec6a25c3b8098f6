"""Mistakes of JSON: where a text is none, and what JSON expects there. Its meaning is read as YAML, see `strict`."""

from __future__ import annotations

import json

_EXPECTED = {
    "Expecting value": "a value is expected: a text in double quotes, a number, true, false, null, { or [",
    "Expecting ',' delimiter": "a comma is expected, or the end of the list or mapping",
    "Expecting ':' delimiter": "a colon is expected after the key",
    "Expecting property name": "a key in double quotes is expected",
    "Extra data": "nothing more is expected: a file has one value",
    "Unterminated string": "the text that begins here has no double quote at its end",
    "Invalid control character": "a control character is written \\uXXXX, a line's end \\n, a tab \\t",
    "Invalid \\": 'a backslash stands before one of " \\ / b f n r t, or before u and four hexadecimal digits',
}
"""Sentences by the beginnings of the parser's own."""


def mistake(text: str) -> tuple[int, int, str] | None:
    """Return line, column and sentence of the first mistake; None for JSON, and for what is nested too deeply."""
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        said = next((said for start, said in _EXPECTED.items() if error.msg.startswith(start)), error.msg)
        return error.lineno, error.colno, said
    except RecursionError:
        return None
    return None
