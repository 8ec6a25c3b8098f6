"""Containerfiles: instructions, stages and the images that they begin with. Pure: text in, values out.

Rules: the Dockerfile reference of BuildKit, as far as it concerns which images and stages a build needs. Values of
arguments are filled in where an image is named; all else is left to the program that builds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cc_images.errors import Reason, UserError

SCRATCH = "scratch"

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9-]*)\s*=\s*(\S.*?)\s*\Z")
_HEREDOC = re.compile(r"(?<![<\w])\d*<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_.]*)\2(?=[\s;|&)>]|\Z)")
_HAVE_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})
_FLAG = re.compile(r"--[a-z][a-z0-9-]*(?:=(?:\"[^\"]*\"|'[^']*'|\S)*)?")
_VARIABLE = re.compile(r"\\(.)|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?([-+?])((?:[^{}]|\{[^{}]*\})*))?\})", re.DOTALL)
_WORD = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)(?:=(\"(?:[^\"\\]|\\.)*\"|'[^']*'|(?:\\.|[^\s\\])*))?", re.DOTALL)
_FROM = re.compile(r"(?P<image>\S+)(?:\s+as\s+(?P<name>\S+))?\s*\Z", re.IGNORECASE)
_NAMES = re.compile(r"[a-z][a-z0-9-_.]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: its word in capitals, its flags, the rest, and the lines as they stand in the file."""

    word: str
    flags: tuple[str, ...]
    rest: str
    """Without comments, on one line, as far as the first here-document."""
    raw: str
    line: int
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A text inside the file; `expands` says whether its variables are filled in."""

    name: str
    text: str
    expands: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. `begins` is the stage, by its number, or the image that it starts from."""

    number: int
    name: str
    begins: int | str
    platform: str
    instructions: tuple[Instruction, ...] = ()
    uses: tuple[int | str, ...] = ()
    """Stages and images from which it copies files, or shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Containerfile:
    """A file: what stands before its first stage, and the stages."""

    head: tuple[Instruction, ...]
    stages: tuple[Stage, ...]

    def target(self, wanted: str) -> Stage:
        """Return a stage by its name or number, the last one without. Raises UserError for one that is not there."""
        if not wanted:
            return self.stages[-1]
        named = _stage(wanted, self.stages)
        if named is None:
            known = ", ".join(each.name or str(each.number) for each in self.stages)
            raise UserError(f"target: it has no stage {wanted}", hint=f"there are {known}", reason=Reason.VALUE)
        return self.stages[named]

    def begins(self, target: Stage) -> str:
        """Return the image that a stage starts from in the end."""
        while isinstance(target.begins, int):
            target = self.stages[target.begins]
        return target.begins

    def needed(self, target: Stage) -> tuple[Stage, ...]:
        """Return the stages that one needs, and itself, in their order."""
        found, stack = {target.number}, [target]
        while stack:
            stage = stack.pop()
            for each in (stage.begins, *stage.uses):
                if isinstance(each, int) and each not in found:
                    found.add(each)
                    stack.append(self.stages[each])
        return tuple(stage for stage in self.stages if stage.number in found)


def images(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Return the images that stages start from or take files of, each once; `scratch` is none."""
    named = (each for stage in stages for each in (stage.begins, *stage.uses))
    return tuple(dict.fromkeys(each for each in named if isinstance(each, str) and each.lower() != SCRATCH))


def parsed(text: str, arguments: Mapping[str, str], arch: str) -> Containerfile:
    """Return a file's stages with these build arguments, for an architecture by Debian's name.

    Raises UserError with the line for what cannot be.
    """
    head: list[Instruction] = []
    stages: list[Stage] = []
    values = platforms(arch) | dict(arguments)
    for each in instructions(text):
        if each.word == "FROM":
            stages.append(_begun(each, stages, values))
        elif each.word == "ARG":
            for name, default in declared(each.rest):
                if default is not None and name not in arguments:
                    values[name] = filled(default, values)
            if not stages:
                head.append(each)
        elif not stages:
            raise _wrong(each.line, f"{each.word} stands before the first FROM")
        if stages and each.word != "FROM":
            stages[-1] = _with(stages[-1], each, stages[:-1])
    if not stages:
        raise UserError("it has no FROM", hint="begin it with the image that it starts from", reason=Reason.VALUE)
    return Containerfile(head=tuple(head), stages=tuple(stages))


def platforms(arch: str) -> dict[str, str]:
    """Return the arguments that every build has."""
    return {
        f"{which}{what}": value
        for which in ("TARGET", "BUILD")
        for what, value in {"PLATFORM": f"linux/{arch}", "OS": "linux", "ARCH": arch, "VARIANT": ""}.items()
    }


def instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions of a file; what stands in here-documents is none."""
    lines = text.removeprefix("\ufeff").splitlines()
    escape = _escape(lines)
    place = 0
    while place < len(lines):
        begin, logical = place, ""
        raw: list[str] = []
        goes_on = True
        while goes_on and place < len(lines):
            line = lines[place]
            place += 1
            bare = line.strip()
            if not bare or bare.startswith("#"):
                if not logical and not raw:
                    goes_on = False
                continue
            if not raw:
                begin = place - 1
            raw.append(line)
            stripped = line.rstrip()
            goes_on = stripped.endswith(escape) and not (stripped.endswith(escape * 2) and escape == "`")
            logical += stripped.removesuffix(escape) if goes_on else line
        if not logical.strip():
            continue
        word, _, rest = logical.strip().partition(" ") if " " in logical.strip() else _split(logical.strip())
        word = word.upper()
        heredocs: list[Heredoc] = []
        if word in _HAVE_HEREDOCS:
            for dash, quote, name in _HEREDOC.findall(rest):
                body, place = _body(lines, place, name, bool(dash), begin)
                raw += lines[place - 1 - len(body) : place]
                heredocs.append(Heredoc(name=name, text=_joined(body, bool(dash)), expands=not quote))
        flags, rest = _flags(rest.strip())
        yield Instruction(
            word=word, flags=flags, rest=rest, raw="\n".join(raw), line=begin + 1, heredocs=tuple(heredocs)
        )


def declared(rest: str) -> list[tuple[str, str | None]]:
    """Return the arguments that an ARG names, with their defaults as they are written; None: no default."""
    return [(name, None if value is None else _unquoted(value)) for name, value in _pairs(rest)]


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


def renamed(instruction: Instruction, names: Mapping[str, str]) -> str:
    """Return an instruction's lines in which the stages and images that it takes files from have other names."""
    first, separator, rest = instruction.raw.partition("\n")
    if not instruction.heredocs:
        first, separator, rest = instruction.raw, "", ""

    def new(found: re.Match[str]) -> str:
        return f"{found[1]}{names.get(_unquoted(found[2]), found[2])}"

    if instruction.word in ("COPY", "ADD"):
        first = re.sub(r"(--from=)(\S+)", new, first)
    elif instruction.word == "RUN":
        first = re.sub(r"((?<=[,=])from=)([^,\s]+)", new, first)
    return first + separator + rest


def taken(instruction: Instruction) -> Iterator[str]:
    """Yield the names of the stages and images of which an instruction takes files, as they are written."""
    for flag in instruction.flags:
        name, _, value = flag.partition("=")
        if name == "--from" and instruction.word in ("COPY", "ADD"):
            yield _unquoted(value)
        elif name == "--mount" and instruction.word == "RUN":
            for part in _unquoted(value).split(","):
                if part.startswith("from="):
                    yield part.removeprefix("from=")


def _begun(instruction: Instruction, stages: Sequence[Stage], values: Mapping[str, str]) -> Stage:
    found = _FROM.match(filled(_unquoted(instruction.rest), values).strip())
    if not found:
        raise _wrong(instruction.line, f"FROM {instruction.rest}: names no image; give its arguments values, too")
    platform = next((each.partition("=")[2] for each in instruction.flags if each.startswith("--platform=")), "")
    name = (found["name"] or "").lower()
    if name and not _NAMES.match(name):
        raise _wrong(instruction.line, f"{found['name']} is no name of a stage")
    image = found["image"].strip("\"'")
    before = _stage(image, stages)
    return Stage(
        number=len(stages),
        name=name,
        begins=image if before is None else before,
        platform=filled(platform, values),
    )


def _with(stage: Stage, instruction: Instruction, before: Sequence[Stage]) -> Stage:
    uses = list(stage.uses)
    for name in taken(instruction):
        number = _stage(name, before)
        uses.append(name if number is None else number)
    return replace(stage, instructions=(*stage.instructions, instruction), uses=tuple(dict.fromkeys(uses)))


def _stage(name: str, stages: Sequence[Stage]) -> int | None:
    """Return the number of the last stage of a name, or of a number; None: there is none, so it is an image's name."""
    for each in reversed(stages):
        if each.name and each.name == name.lower():
            return each.number
    return int(name) if name.isdecimal() and int(name) < len(stages) else None


def _escape(lines: Sequence[str]) -> str:
    """Return the character that goes on with a line: a backslash, unless a directive at the file's begin says a `."""
    for line in lines:
        found = _DIRECTIVE.match(line.strip())
        if not found:
            break
        if found[1].lower() == "escape":
            return found[2]
    return "\\"


def _split(text: str) -> tuple[str, str, str]:
    word, *rest = text.split(None, 1)
    return word, " ", rest[0] if rest else ""


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
    raise _wrong(begin + 1, f"the text of <<{name} has no end")


def _joined(body: Sequence[str], dash: bool) -> str:
    return "".join(f"{line.lstrip(chr(9)) if dash else line}\n" for line in body)


def _pairs(rest: str) -> list[tuple[str, str | None]]:
    return [(found[1], found[2]) for found in _WORD.finditer(rest)]


def _unquoted(text: str) -> str:
    stripped = text.strip()
    if len(stripped) > 1 and stripped[0] == stripped[-1] and stripped[0] in "\"'":
        return stripped[1:-1]
    return stripped


def _wrong(line: int, message: str) -> UserError:
    return UserError(f"line {line}: {message}", hint="correct the Containerfile", reason=Reason.VALUE)
