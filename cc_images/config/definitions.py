"""Definitions: images that are found in folders beside the catalogue, each as an entry that nobody has to write.

    container_definitions/ARCH/NAME/spack.yaml    a Spack image
    container_definitions/ARCH/NAME.yaml          the same, without other files
    container_definitions/ARCH/NAME.def           a SIF file, by a definition file of Apptainer

An image of one name for two architectures is one image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cc_images.config.variants import Entry
from cc_images.config.yaml_file import Document
from cc_images.config.yaml_text import choice
from cc_images.model.catalog import Arch, Json

FOLDER = "container_definitions"

SPACK = "spack.yaml"
DEFINITION = ".def"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\Z")
_HEADER = re.compile(r"(?im)^[ \t]*(bootstrap|from)[ \t]*:[ \t]*(\S*)[ \t]*$")
_TAG = re.compile(r"[^/@]*:(?!latest(?:@|\Z))([A-Za-z0-9_][A-Za-z0-9._-]{0,60})(?:@\S*)?\Z")


@dataclass(slots=True, kw_only=True)
class _Found:
    """One name: what its entry says, with `{arch}` for the architecture in places, and a file for messages."""

    said: Json
    file: Path
    arches: list[Arch] = field(default_factory=list)


def with_found(written: Sequence[Entry], catalogue: Path, problems: list[str]) -> list[Entry]:
    """Return a catalogue's entries, and those that the folders beside it stand for."""
    return [*written, *_entries(catalogue, problems, written)]


def _entries(catalogue: Path, problems: list[str], written: Sequence[Entry]) -> Iterator[Entry]:
    folder = catalogue.parent / FOLDER
    found: dict[str, _Found] = {}
    known = {each.section.name.lower() for each in written}
    arches = {name: each for each in Arch for name in (each.value, each.machine)}
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if place.name.startswith(".") or not place.is_dir():
            continue
        if place.name not in arches:
            problems.append(f"{FOLDER}: {choice(place.name, arches)}")
            continue
        for name, path in _definitions(place):
            _add(found, known, name, path, arches[place.name], problems)
    for name, each in sorted(found.items()):
        text = json.dumps({name: {**each.said, "arch": each.arches}})
        document = Document(each.file, problems, str(each.file.relative_to(catalogue.parent)), text)
        yield from (Entry(section=section) for section in document.sections(_NAME))


def _definitions(place: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names in the folder of an architecture, with the folder or file of each."""
    for path in sorted(place.iterdir()):
        if path.is_dir() and (path / SPACK).is_file():
            yield path.name, path
        elif path.is_file() and path.suffix in (".yaml", DEFINITION):
            yield path.stem, path


def _add(found: dict[str, _Found], known: set[str], name: str, path: Path, arch: Arch, problems: list[str]) -> None:
    title = f"{FOLDER}/{path.parent.name}/{path.name}"
    said = _said(path)
    if not _NAME.match(name):
        problems.append(f"{title}: is no name of a container: lower-case letters, digits, dot, hyphen and underscore")
    elif name in known:
        problems.append(f"{title}: images.yaml has an image {name}, too; rename one of them")
    elif (there := found.get(name)) is None:
        found[name] = _Found(said=said, file=path / SPACK if path.is_dir() else path, arches=[arch])
    elif there.said != said or arch in there.arches:
        other = there.file.relative_to(path.parents[2])
        problems.append(f"{title}: {other} is another definition of {name}; let them say the same, or rename one")
    else:
        there.arches.append(arch)


def _said(path: Path) -> Json:
    """Return what an entry of a definition says, but for its architectures."""
    said: Json = {"context": f"{FOLDER}/{{arch}}/{path.name}"}
    if path.suffix != DEFINITION or path.is_dir():
        return said | {"builder": "spack", "bump": True}
    said |= {"builder": "containerfile", "formats": ["sif"]}
    header = {key.lower(): value for key, value in reversed(_HEADER.findall(path.read_text(errors="replace")))}
    begins = header.get("from", "")
    if header.get("bootstrap", "").lower() == "localimage":
        said["depends"] = [begins]
    elif tag := _TAG.match(begins.rpartition("/")[2]):
        said["version"] = tag[1]
    return said
