"""Definition files of Apptainer as Containerfiles. Pure: text in, text out.

Rules: Apptainer's user guide, "Definition Files", and what its build does with each section. A build that cannot be
the same in a container's build (%setup and %pre run on the host) is refused with the line.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from cc_images.errors import Reason, UserError

FOLDER = "/.singularity.d"
"""Where Apptainer looks for what belongs to a container."""

ENVIRONMENT, RUNSCRIPT = f"{FOLDER}/env/90-of-definition.sh", f"{FOLDER}/of-definition"
"""Files of ours, which those that every SIF file gets leave as they are."""

ADDED = f"{FOLDER}/env/91-environment.sh"
"""The file to which scripts of %post add; it is read after that of %environment."""

KEYS = ("bootstrap", "from", "include", "mirrorurl", "namespace", "osversion", "registry", "stage", "updateurl")
"""Keys of a header that are known; mirrors are those of the host that builds."""

SHELLS = ("sh", "ash", "bash", "dash", "ksh", "zsh")

SCRIPTS = ("post", "test")
"""Sections that are run while the image is built."""

POSSIBLE = "localimage (an image of the catalogue), debootstrap, docker and scratch"

_FIRST = re.compile(r"(?i:bootstrap)\s*:|%[a-z]")
_KEY = re.compile(r"\s*([A-Za-z]+)\s*:\s*(.*?)\s*\Z")
_SECTION = re.compile(r"%([A-Za-z]+)\s*(.*?)\s*\Z")
_BEGINS = re.compile(r"(?i:bootstrap)\s*:")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+:=~-]*\Z")
_APT = re.compile(r"(?m)(?:^|[\s;&|({`])apt(?:-get|itude)?\s")
_STAGE = re.compile(r"[a-z][a-z0-9-_.]*\Z")


@dataclass(slots=True, kw_only=True)
class Section:
    """One section: its name, the words after it, and its lines."""

    name: str
    words: tuple[str, ...]
    line: int
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its lines as one text."""
        return "".join(f"{each}\n" for each in self.lines)

    @property
    def interpreter(self) -> str:
        """The program of `-c`, with which a script is run."""
        if not self.words:
            return "/bin/sh"
        if self.words[0] != "-c" or not "".join(self.words[1:]).strip():
            raise _mistake(self.line, f"%{self.name} {' '.join(self.words)} is not understood")
        return " ".join(self.words[1:])


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage: its header, by keys in small letters, and its sections."""

    line: int
    header: dict[str, str] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)

    def of(self, name: str) -> list[Section]:
        """Return the sections of a name."""
        return [each for each in self.sections if each.name == name]


def is_definition(text: str) -> bool:
    """Say whether a text is a definition file: its first line that is no comment is a header, or a section."""
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return bool(_FIRST.match(next((line for line in lines if line and not line.startswith("#")), "")))


def containerfile(text: str, tags: Collection[str], bases: Mapping[str, str]) -> str:
    """Return the Containerfile of a definition file.

    `tags` are the images of the catalogue, `bases` those for containers by their distribution's release. Raises
    UserError with the line for what cannot be built.
    """
    lines: list[str] = []
    for stage in stages(text):
        for known in stage.sections:
            if known.name not in _SECTIONS:
                raise _mistake(known.line, f"%{known.name} cannot be done here: {_WHY.get(known.name, 'unknown')}")
        lines += [*_begun(stage, tags, bases), *_filled(stage)]
        if stage.header.get("include") or any(_APT.search(each.text) for name in SCRIPTS for each in stage.of(name)):
            lines.append(f"RUN {json.dumps(_FORGET)}")
    return "\n".join([*lines, ""])


def stages(text: str) -> list[Stage]:
    """Return the stages of a definition file. Raises UserError for lines that belong to none."""
    found: list[Stage] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if _BEGINS.match(line):
            found.append(Stage(line=number))
        section = _SECTION.match(line)
        if section and found:
            words = tuple(_split(section[2], number, line.strip()))
            found[-1].sections.append(Section(name=section[1].lower(), words=words, line=number))
        elif found and found[-1].sections:
            found[-1].sections[-1].lines.append(line)
        elif line.strip() and not line.strip().startswith("#"):
            key = _KEY.match(line)
            if key is None or not found:
                raise _mistake(number, f"{line.strip()[:60]!r} stands before Bootstrap, or is no line of a header")
            if key[1].lower() not in KEYS:
                raise _mistake(number, f"the key {key[1]} is not known; there are {', '.join(KEYS)}")
            found[-1].header[key[1].lower()] = key[2]
    if not found:
        raise _mistake(1, "it has no Bootstrap")
    return found


def _begun(stage: Stage, tags: Collection[str], bases: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines with which a stage begins."""
    base = _base(stage, tags, bases)
    name = stage.header.get("stage", "").lower()
    if name and not _STAGE.match(name):
        raise _mistake(stage.line, f"Stage: {name}: is no name for one")
    yield f"FROM {base} AS {name}" if name else f"FROM {base}"
    yield "USER 0"
    packages = re.split(r"[\s,]+", stage.header.get("include", "").strip())
    if wrong := [each for each in packages if each and not _PACKAGE.match(each)]:
        raise _mistake(stage.line, f"Include: {wrong[0]} is no package")
    if packages != [""]:
        yield f"RUN apt-get update && apt-get install --yes --no-install-recommends {' '.join(packages)}"


def _base(stage: Stage, tags: Collection[str], bases: Mapping[str, str]) -> str:
    kind, said = stage.header.get("bootstrap", "").lower(), stage.header.get("from", "")
    if kind == "debootstrap":
        release = stage.header.get("osversion", "").lower()
        if release not in bases:
            known = ", ".join(f"{name} ({tag})" for name, tag in bases.items()) or "none"
            raise _mistake(stage.line, f"OSVersion: {release or 'is missing'}: there are base images of {known}")
        return bases[release]
    if kind == "scratch":
        return "scratch"
    if not said:
        raise _mistake(stage.line, "From is missing")
    if kind == "localimage":
        if said.lower() not in tags:
            raise _mistake(stage.line, f"From: {said}: is no image of the catalogue; no other file can be begun with")
        return said.lower()
    if kind == "docker":
        return "/".join(filter(None, (stage.header.get("registry"), stage.header.get("namespace"), said)))
    raise _mistake(stage.line, f"Bootstrap: {kind} cannot be built here; {POSSIBLE} can")


def _filled(stage: Stage) -> Iterator[str]:
    """Yield the instructions of a stage's sections, in the order in which Apptainer does them."""
    for section in stage.of("files"):
        yield from _files(section)
    for section in stage.of("post"):
        yield from _run(section)
    for name, place in _TEXTS.items():
        if sections := stage.of(name):
            body = "".join(each.text for each in sections)
            begins = f"#!{sections[0].interpreter}\n" if name in ("runscript", "startscript") else ""
            yield from _text(place, begins + body)
    if stage.of("runscript"):
        yield f"ENTRYPOINT {json.dumps([RUNSCRIPT])}"
        yield "CMD []"
    for section in stage.of("labels"):
        for line in filter(None, map(str.strip, section.lines)):
            if not line.startswith("#"):
                name, _, value = line.partition(" ")
                yield f"LABEL {_quoted(name)}={_quoted(value.strip())}"
    for section in stage.of("test"):
        yield from _run(section)


def _files(section: Section) -> Iterator[str]:
    """Yield the copies of a section %files; what comes from this host comes from the context."""
    if section.words and (
        len(section.words) != 2 or section.words[0] != "from" or not _STAGE.match(section.words[1].lower())
    ):
        raise _mistake(section.line, f"%files {' '.join(section.words)} is not understood; `%files from STAGE` is")
    flag = f"--from={section.words[1].lower()} " if section.words else ""
    for number, line in enumerate(section.lines, section.line + 1):
        words = _split(line, number, line.strip())
        if not words:
            continue
        source, target = words[0], words[1] if len(words) > 1 else words[0]
        if len(words) > 2:
            raise _mistake(number, "%files takes a source and a target in a line")
        if not flag and (source.startswith(("/", "~")) or ".." in PurePosixPath(source).parts):
            raise _mistake(number, f"%files: {source} is not below the folder of --context, whose files alone travel")
        if target.endswith("/") and not set(source) & set("*?["):
            target += PurePosixPath(source).name
        target = target if target.startswith("/") else f"/{target}"
        yield f"COPY {flag}{json.dumps([source, target])}"


def _split(text: str, number: int, line: str) -> list[str]:
    """Return the words of a line, or of its end, as a shell has them. Raises UserError for a quote without an end."""
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise _mistake(number, f"{line[:60]}: {error}") from error


def _run(section: Section) -> Iterator[str]:
    """Yield the RUN of a script; a shell prints what it runs, and ends with the first command that fails."""
    end, program = _end(section.text), section.interpreter
    if PurePosixPath(program.split()[0]).name in SHELLS:
        program += f" -ex\n{_BEFORE}"
    yield f"RUN <<'{end}'\n#!{program}\n{section.text}{end}"


def _text(place: str, text: str) -> Iterator[str]:
    end = _end(text)
    yield f"COPY --chmod=0755 <<'{end}' {place}\n{text}{end}"


def _end(text: str) -> str:
    """Return a word that is no line of a text."""
    lines, number = {*text.splitlines()}, 0
    while (word := f"END-{number}") in lines:
        number += 1
    return word


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'


def _mistake(line: int, message: str) -> UserError:
    return UserError(
        f"line {line}: {message}",
        hint="correct the definition file, or write a Containerfile; docs/containers.md says what can be built",
        reason=Reason.VALUE,
    )


_BEFORE = f"exec 2>&1; mkdir -p {FOLDER}/env; export APPTAINER_ENVIRONMENT={ADDED} SINGULARITY_ENVIRONMENT={ADDED}"
"""One stream, which keeps what is printed in order; then the variables for the container's environment."""

_FORGET = ("/bin/sh", "-c", "rm -rf /var/lib/apt/lists/*")
"""Ends a stage that has used apt: its lists are in no image. A script may be prepared for hosts without them."""

_TEXTS: Mapping[str, str] = {
    "environment": ENVIRONMENT,
    "runscript": RUNSCRIPT,
    "startscript": f"{FOLDER}/startscript",
    "help": f"{FOLDER}/runscript.help",
}
"""Sections that become files."""

_SECTIONS = frozenset({"files", "post", "labels", "test", *_TEXTS})

_WHY: Mapping[str, str] = {
    "setup": "it runs on the host, as root",
    "pre": "it runs on the host, as root",
    "arguments": "templates are not filled in",
}
