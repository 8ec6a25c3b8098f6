"""Containerfiles: instructions, stages and the images that they begin with. Pure: text in, values out.

Rules: the Dockerfile reference of BuildKit, as far as it concerns which images and stages a build needs. Values of
arguments are filled in where an image is named; all else is left to the program that builds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cc_images.builders.containerfile.instructions import Instruction, declared, filled, instructions, mistake, unquoted
from cc_images.builders.containerfile.remote import Remote, remotes, variables
from cc_images.errors import Reason, UserError

SCRATCH = "scratch"

_FROM = re.compile(r"(?P<image>\S+)(?:\s+as\s+(?P<name>\S+))?\s*\Z", re.IGNORECASE)
_NAMES = re.compile(r"[a-z][a-z0-9-_.]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. `begins` is the stage, by its number, or the image that it starts from."""

    number: int
    name: str
    begins: int | str
    instructions: tuple[Instruction, ...] = ()
    uses: tuple[int | str, ...] = ()
    """Stages and images from which it copies files, or shows them."""
    remotes: tuple[Remote, ...] = ()
    """Addresses from which it fetches files."""


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
            raise UserError(f"target: it has no stage {wanted}", hint=f"its stages are {known}", reason=Reason.VALUE)
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
    environment: dict[str, str] = {}
    for each in instructions(text):
        if each.word == "FROM":
            stages.append(_begun(each, stages, values))
        elif each.word == "ARG":
            for name, default in declared(each.rest):
                if default is not None and name not in arguments and not (stages and values.get(name)):
                    values[name] = filled(default, values)
            if not stages:
                head.append(each)
        elif not stages:
            raise mistake(each.line, f"{each.word} stands before the first FROM")
        if stages and each.word != "FROM":
            environment |= variables(each, values | environment) if each.word == "ENV" else {}
            fetched = remotes(each, values | environment)
            stages[-1] = _with(replace(stages[-1], remotes=(*stages[-1].remotes, *fetched)), each, stages[:-1])
    if not stages:
        raise UserError("it has no FROM", hint="begin it with the image that it starts from", reason=Reason.VALUE)
    return Containerfile(head=tuple(head), stages=tuple(stages))


def require_kept(stages: Sequence[Stage]) -> None:
    """Raise UserError for an instruction that images would lose: buildah leaves it out with a warning."""
    for each in (each for stage in stages for each in stage.instructions):
        if each.word == "ONBUILD":
            raise UserError(
                f"line {each.line}: ONBUILD: images are of OCI's format, which does not keep it",
                hint=f"write {each.rest.split(None, 1)[0].upper() if each.rest else 'it'} into the Containerfiles of "
                "the images that start from this one",
                reason=Reason.VALUE,
            )


def platforms(arch: str) -> dict[str, str]:
    """Return the arguments that every build has."""
    return {
        f"{which}{what}": value
        for which in ("TARGET", "BUILD")
        for what, value in {"PLATFORM": f"linux/{arch}", "OS": "linux", "ARCH": arch, "VARIANT": ""}.items()
    }


def renamed(instruction: Instruction, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return an instruction's flags, in which the stages and images that it takes files from have other names."""

    def called(name: str) -> str:
        return names.get(name) or names.get(name.lower(), name)

    found = []
    for flag in instruction.flags:
        name, _, value = flag.partition("=")
        if name == "--from" and instruction.word in ("COPY", "ADD"):
            flag = f"{name}={called(unquoted(value))}"
        elif name == "--mount" and instruction.word == "RUN":
            parts = (part.partition("=") for part in unquoted(value).split(","))
            told = (f"{key}{sign}{called(each) if key == 'from' else each}" for key, sign, each in parts)
            flag = f"{name}={','.join(told)}"
        found.append(flag)
    return tuple(found)


def taken(instruction: Instruction) -> Iterator[str]:
    """Yield the names of the stages and images of which an instruction takes files, as they are written."""
    for flag in instruction.flags:
        name, _, value = flag.partition("=")
        if name == "--from" and instruction.word in ("COPY", "ADD"):
            yield unquoted(value)
        elif name == "--mount" and instruction.word == "RUN":
            for part in unquoted(value).split(","):
                if part.startswith("from="):
                    yield part.removeprefix("from=")


def _begun(instruction: Instruction, stages: Sequence[Stage], values: Mapping[str, str]) -> Stage:
    found = _FROM.match(filled(unquoted(instruction.rest), values).strip())
    if not found:
        raise mistake(instruction.line, f"FROM {instruction.rest}: names no image; give its arguments values, too")
    said = next((each.partition("=")[2] for each in instruction.flags if each.startswith("--platform=")), "")
    platform, own = filled(said, values), values["TARGETPLATFORM"]
    if platform not in ("", own, own.removeprefix("linux/")):
        raise mistake(instruction.line, f"--platform={platform}: the image is for {own}, and so are all its stages")
    name = (found["name"] or "").lower()
    if name and not _NAMES.match(name):
        raise mistake(instruction.line, f"{found['name']} is no name of a stage")
    image = found["image"].strip("\"'")
    before = _stage(image, stages)
    return Stage(
        number=len(stages),
        name=name,
        begins=image if before is None else before,
    )


def _with(stage: Stage, instruction: Instruction, before: Sequence[Stage]) -> Stage:
    uses = list(stage.uses)
    for name in taken(instruction):
        if "$" in name:
            raise mistake(instruction.line, f"--from={name}: a name cannot be an argument here")
        number = _stage(name, before)
        uses.append(name if number is None else number)
    return replace(stage, instructions=(*stage.instructions, instruction), uses=tuple(dict.fromkeys(uses)))


def _stage(name: str, stages: Sequence[Stage]) -> int | None:
    """Return the number of the last stage of a name, or of a number; None: there is none, so it is an image's name."""
    for each in reversed(stages):
        if each.name and each.name == name.lower():
            return each.number
    return int(name) if name.isdecimal() and int(name) < len(stages) else None
