"""Instructions of Containerfiles: lines that go on, here-documents, flags, and the values of arguments. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cc_images.errors import Reason, UserError

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9-]*)\s*=\s*(\S.*?)\s*\Z")
_HEREDOC = r"(?<![<\w])\d*<<(?P<dash>-?)(?P<quote>[\"']?)(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)(?P=quote)(?=[\s;|&)>]|\Z)"
_HEREDOCS = re.compile(rf"{_HEREDOC}|'[^']*'|\"(?:[^\"\\]|\\.)*\"|(?:(?<=\s)|\A)#.*")
"""Here-documents, and what has none: words in quotes, and a shell's comments."""
_ALONE = re.compile(rf"\s*{_HEREDOC}\s*\Z")
_HAVE_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})
_FLAG = re.compile(r"--[a-z][a-z0-9-]*(?:=(?:\"[^\"]*\"|'[^']*'|\S)*)?")
_VARIABLE = re.compile(r"\\(.)|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?([-+?])((?:[^{}]|\{[^{}]*\})*))?\})", re.DOTALL)
_WORD = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)(?:=(\"(?:[^\"\\]|\\.)*\"|'[^']*'|(?:\\.|[^\s\\])*))?", re.DOTALL)


def words_in(rest: str) -> list[str] | None:
    """Return the words that an instruction has as a JSON list; None where it has none."""
    with suppress(ValueError, RecursionError):
        found = json.loads(rest)
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return found
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: its word in capitals, its flags, and the rest."""

    word: str
    flags: tuple[str, ...]
    rest: str
    """Without comments, on one line, as far as the first here-document."""
    line: int
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether all that it says is one here-document."""
        return _ALONE.match(self.rest) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A text inside the file; `expands` says whether its variables are filled in."""

    name: str
    text: str
    expands: bool


def instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions of a file; what stands in here-documents is none."""
    lines = text.removeprefix("\ufeff").splitlines()
    escape = _escape(lines)
    place = 0
    while place < len(lines):
        begin, logical = place, ""
        goes_on = True
        while goes_on and place < len(lines):
            line = lines[place]
            place += 1
            bare = line.strip()
            if not bare or bare.startswith("#"):
                if not logical:
                    goes_on = False
                continue
            if not logical:
                begin = place - 1
            stripped = line.rstrip()
            goes_on = stripped.endswith(escape) and not (stripped.endswith(escape * 2) and escape == "`")
            logical += stripped.removesuffix(escape) if goes_on else line
        if not logical.strip():
            continue
        first, *others = logical.split(None, 1)
        word, rest = first.upper(), others[0] if others else ""
        heredocs: list[Heredoc] = []
        for found in _HEREDOCS.finditer(rest) if word in _HAVE_HEREDOCS else ():
            if name := found["name"]:
                body, place = _body(lines, place, name, bool(found["dash"]), begin)
                heredocs.append(Heredoc(name=name, text=_joined(body, bool(found["dash"])), expands=not found["quote"]))
        flags, rest = _flags(rest.strip())
        yield Instruction(word=word, flags=flags, rest=rest, line=begin + 1, heredocs=tuple(heredocs))


def declared(rest: str) -> list[tuple[str, str | None]]:
    """Return the arguments that an ARG names, with their defaults as they are written; None: no default."""
    return [(name, None if value is None else unquoted(value)) for name, value in _pairs(rest)]


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with the values of its variables; `${X:-word}` and `${X:+word}` are known, too."""

    def value(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        name, kind, word = found[2] or found[3], found[4], found[5] or ""
        said = values.get(name, "")
        if kind == "-":
            return said or filled(word, values)
        if kind == "+":
            return filled(word, values) if said else ""
        return said

    return _VARIABLE.sub(value, text)


def _escape(lines: Sequence[str]) -> str:
    """Return the character that goes on with a line: a backslash, unless a directive at the file's begin says a `."""
    for line in lines:
        found = _DIRECTIVE.match(line.strip())
        if not found:
            break
        if found[1].lower() == "escape":
            return found[2]
    return "\\"


def _flags(rest: str) -> tuple[tuple[str, ...], str]:
    """Return the flags at the begin of an instruction's words, and what comes after them."""
    flags: list[str] = []
    while found := _FLAG.match(rest):
        flags.append(found[0])
        rest = rest[found.end() :].lstrip()
    return tuple(flags), rest


def _body(lines: Sequence[str], place: int, name: str, dash: bool, begin: int) -> tuple[list[str], int]:
    """Return the lines of a here-document, and the place after its end."""
    body: list[str] = []
    while place < len(lines):
        line = lines[place]
        place += 1
        if (line.lstrip("\t") if dash else line) == name:
            return body, place
        body.append(line)
    raise mistake(begin + 1, f"the text of <<{name} has no end")


def _joined(body: Sequence[str], dash: bool) -> str:
    return "".join(f"{line.lstrip(chr(9)) if dash else line}\n" for line in body)


def _pairs(rest: str) -> list[tuple[str, str | None]]:
    return [(found[1], found[2]) for found in _WORD.finditer(rest)]


def unquoted(text: str) -> str:
    """Return a text without the quotes around it."""
    stripped = text.strip()
    if len(stripped) > 1 and stripped[0] == stripped[-1] and stripped[0] in "\"'":
        return stripped[1:-1]
    return stripped


def mistake(line: int, message: str) -> UserError:
    """Return the error for a line."""
    return UserError(f"line {line}: {message}", hint="correct the Containerfile", reason=Reason.VALUE)
