"""Commands: how checked requests of each kind are carried out, and how that which they make is called."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cc_images.model.catalog import Format, Json
from cc_images.model.machine import OF_ARCHIVES
from cc_images.web.value import Value

FILE = "request.json"
"""The name of a machine request's file in the folder of its build."""

OWN = ("image_id", "commit", "listing")
"""Keys of a checked request for a machine that its file does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a build has made is called."""

    image_id: str
    filename: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How requests of a kind are carried out, whose build has a folder."""

    words: Callable[[Json, Path], list[str]]
    files: Callable[[Json], Mapping[str, str]] = lambda content: {}
    """Returns texts that the command line reads, by their names in the folder."""


def words(value: Value, folder: Path) -> list[str]:
    """Return the words of the command line that carry out a request, whose build has this folder."""
    return COMMANDS[value.kind].words(value.content, folder)


def files(value: Value) -> Mapping[str, str]:
    """Return the texts that the command line reads, by their names in the folder of the build."""
    return COMMANDS[value.kind].files(value.content)


def names(value: Value, image: str, version: str, made: Sequence[str]) -> Names:
    """Return the names of what a build has made: of its first image, version and files.

    The file for a machine is the one that its engine takes: a SIF file, or none.
    """
    if value.kind != "machine":
        return Names(image_id=f"{image}@{version}", filename=next(iter(made), None))
    archives = value.content["machine"]["container_engine"] in OF_ARCHIVES
    sif = next((each for each in made if each.endswith(f".{Format.SIF.suffix}")), None)
    return Names(image_id=value.content["image_id"], filename=None if archives else sif)


def _images(content: Json, folder: Path) -> list[str]:
    arches = ["-a", ",".join(content["architectures"])] if content["architectures"] else []
    flags = [*(["-p"] if content["push"] else []), *(["-f"] if content["force"] else [])]
    return ["-b", "-v", *flags, *arches, *content["images"]]


def _push(content: Json, folder: Path) -> list[str]:
    return ["-p", "-v", "--version", content["version"], "-a", *content["architectures"], *content["images"]]


def _machine(content: Json, folder: Path) -> list[str]:
    return ["build-request", str(folder / FILE)]


def _file_of_machine(content: Json) -> dict[str, str]:
    return {FILE: json.dumps({key: value for key, value in content.items() if key not in OWN}, sort_keys=True)}


COMMANDS: Mapping[str, Command] = {
    "images": Command(words=_images),
    "push": Command(words=_push),
    "machine": Command(words=_machine, files=_file_of_machine),
}
"""Those of all kinds; `kinds` has how requests of each are checked."""
