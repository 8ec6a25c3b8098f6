"""The file that buildah gets: the stages that a target needs, under names of ours, from images that are loaded.

buildah before 1.33 knows no here-documents. Those of RUN become words of the shell, which has its own; those of COPY
become files beside the context.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cc_images.builders.containerfile.containerfile import SCRATCH, Containerfile, Stage, renamed
from cc_images.builders.containerfile.instructions import Instruction, mistake
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
    lines = [each.raw for each in file.head]
    for stage in file.needed(target):
        begins = _called(stage.begins, names)
        lines.append(f"FROM {begins} AS {_name(stage.number)}")
        lines += [f"ARG {name}={value}" for name, value in ARGUMENTS.items()]
        lines += _instructions(stage, file, names, texts)
    return Generated(text="\n".join([*lines, ""]), target=_name(target.number), texts=texts)


def _instructions(stage: Stage, file: Containerfile, names: Mapping[str, str], texts: dict[str, str]) -> Iterator[str]:
    """Yield a stage's instructions with the names that its sources have now."""
    new = {name: _called(name, names) for name in stage.uses if isinstance(name, str)}
    for before in file.stages[: stage.number]:
        new |= {known: _name(before.number) for known in (str(before.number), before.name) if known}
    shell: tuple[str, ...] = SHELL
    for each in stage.instructions:
        if each.word == "SHELL":
            shell = _words(each)
        if each.heredocs:
            yield _run(each, renamed(each, new), shell) if each.word == "RUN" else _copy(each, texts)
        else:
            yield renamed(each, new)


def _called(begins: int | str, names: Mapping[str, str]) -> str:
    if isinstance(begins, int):
        return _name(begins)
    return SCRATCH if begins.lower() == SCRATCH else names[begins]


def _name(number: int) -> str:
    return f"cc-stage-{number}"


def _words(instruction: Instruction) -> tuple[str, ...]:
    try:
        return tuple(json.loads(instruction.rest))
    except ValueError as error:
        raise mistake(instruction.line, "SHELL is no list of words") from error


def _run(instruction: Instruction, raw: str, shell: tuple[str, ...]) -> str:
    """Return a RUN whose shell reads the texts itself."""
    flags = " ".join(re.findall(r"--mount=\S+|--network=\S+|--security=\S+", raw.partition("\n")[0]))
    body = raw.partition("\n")[2]
    alone = re.fullmatch(r"<<-?([\"']?)\w+\1", instruction.rest.strip())
    if alone is None:
        script = f"{instruction.rest}\n{body}\n"
    elif (text := instruction.heredocs[0].text).startswith("#!"):
        script = f"f=$(mktemp) && cat > $f <<'cc-images-text'\n{text}cc-images-text\n{FROM_FILE}"
    else:
        script = text
    return f"RUN {flags} {json.dumps([*shell, script])}"


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
