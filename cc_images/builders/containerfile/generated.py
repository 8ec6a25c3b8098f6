"""The file that buildah gets: the stages that a target needs, under names of ours, from images that are loaded.

buildah before 1.33 knows no here-documents. Those of RUN become words of the shell, which has its own; those of COPY
become files beside the context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cc_images.builders.containerfile.containerfile import SCRATCH, Containerfile, Stage, renamed
from cc_images.builders.containerfile.instructions import Instruction, mistake, words_in
from cc_images.clock import EPOCH

TEXTS = "cc-images-texts"
"""The name of the folder with the texts of COPY's here-documents."""

ARGUMENTS = {"SOURCE_DATE_EPOCH": str(EPOCH), "APT_CONFIG": "/run/cc-images/apt.conf"}
"""Arguments of every stage, which commands see as variables and the image has not; see `toolbox/containerfile.py`."""

FROM_FILE = "chmod 700 $f && $f; code=$?; rm -f $f; exit $code\n"

SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """A file, its target's name, and texts by name that it copies."""

    text: str
    target: str
    texts: Mapping[str, str]


def generated(file: Containerfile, target: Stage, names: Mapping[str, str]) -> Generated:
    """Return the file for one target; `names` has what each image is called where it is loaded."""
    texts: dict[str, str] = {}
    lines = [f"ARG {each.rest}" for each in file.head]
    shells: dict[int, tuple[str, ...]] = {}
    for stage in file.needed(target):
        shells[stage.number] = shells[stage.begins] if isinstance(stage.begins, int) else SHELL
        lines.append(f"FROM {_called(stage.begins, names)} AS {_name(stage.number)}")
        lines += [f"ARG {name}={value}" for name, value in ARGUMENTS.items()]
        new = {name: _called(name, names) for name in stage.uses if isinstance(name, str)}
        for before in file.stages[: stage.number]:
            new |= {known: _name(before.number) for known in (str(before.number), before.name) if known}
        for each in stage.instructions:
            if each.word == "SHELL":
                shells[stage.number] = _words(each)
            lines.append(_line(each, renamed(each, new), shells[stage.number], texts))
    return Generated(text="\n".join([*lines, ""]), target=_name(target.number), texts=texts)


def _line(each: Instruction, flags: tuple[str, ...], shell: tuple[str, ...], texts: dict[str, str]) -> str:
    """Return an instruction on one line; what a shell runs as words, since formats of images forget which shell."""
    said = each.rest
    if each.word == "RUN" and words_in(said) is None:
        said = json.dumps([*shell, _script(each)])
    elif each.heredocs and each.word != "RUN":
        return _copy(each, texts)
    return " ".join([each.word, *flags, said])


def _called(begins: int | str, names: Mapping[str, str]) -> str:
    if isinstance(begins, int):
        return _name(begins)
    return SCRATCH if begins.lower() == SCRATCH else names[begins]


def _name(number: int) -> str:
    return f"cc-stage-{number}"


def _words(instruction: Instruction) -> tuple[str, ...]:
    if not (found := words_in(instruction.rest)):
        raise mistake(instruction.line, "SHELL is no list of words")
    return tuple(found)


def _script(instruction: Instruction) -> str:
    """Return what the shell of a RUN runs; it reads here-documents itself, but for one that is all there is."""
    if not instruction.is_text:
        return "\n".join([instruction.rest, *(f"{each.text}{each.name}" for each in instruction.heredocs)])
    text = instruction.heredocs[0].text
    if text.startswith("#!"):
        return f"f=$(mktemp) && cat > $f <<'cc-images-text'\n{text}cc-images-text\n{FROM_FILE}"
    return text


def _copy(instruction: Instruction, texts: dict[str, str]) -> str:
    """Return a COPY that takes the texts from a folder."""
    *_, target = instruction.rest.split()
    sources = []
    for each in instruction.heredocs:
        if each.expands and "$" in each.text:
            raise mistake(instruction.line, f"the variables in the text of <<{each.name} need buildah 1.33")
        folder = f"{len(texts)}"
        texts[f"{folder}/{each.name}"] = each.text
        sources.append(f"{folder}/{each.name}")
    if len(instruction.rest.split()) > len(sources) + 1:
        raise mistake(instruction.line, "it copies texts and files at once; make it two")
    flags = " ".join(each for each in instruction.flags if not each.startswith("--from="))
    return f"COPY --from={TEXTS} {flags} {' '.join(sources)} {target}"
