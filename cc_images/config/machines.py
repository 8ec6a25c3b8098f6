"""The schema of machines.yaml: machines that images are requested for, by name; and of one that a request brings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from cc_images.config.image_parts import NAME
from cc_images.config.yaml_file import Document, Section
from cc_images.model import targets
from cc_images.model.machine import ENGINES, USUAL_BASE, USUAL_BUILDER, Machine, Runtime
from cc_images.model.plain_text import brief

MACHINES = "CC_MACHINES_CONFIG"
"""The variable that names the file of machines, which need not exist."""

ENGINE_KEYS = ("container-engine", "container_engine")
"""The two spellings of one key."""

LONGEST = 24
"""Letters of an MPI or GPU runtime: they are part of names."""

LONGEST_WORD, SHORT = 24, 10
"""Letters that are compared with known words; known words that are all named."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


def machines_places(environ: Mapping[str, str], images_file: Path, cwd: Path) -> list[Path]:
    """Return where the file of machines may be: as a variable says, or beside the catalogue, or in the folder."""
    if environ.get(MACHINES):
        return [(cwd / environ[MACHINES]).absolute()]
    return [images_file.parent / "machines.yaml", cwd.absolute() / "machines.yaml"]


def machines_file(environ: Mapping[str, str], images_file: Path, cwd: Path) -> Path | None:
    """Return the file of machines: the one that a variable names, or the first that is there."""
    places = machines_places(environ, images_file, cwd)
    return places[0] if environ.get(MACHINES) else next((each for each in places if each.exists()), None)


def machines(file: Path | None, problems: list[str]) -> dict[str, Machine]:
    """Return the machines of a file by name; mistakes are added to the problems."""
    if file is None:
        return {}
    found = {each.name: machine_of(each) for each in Document(file, problems, "machines.yaml").sections(_NAME)}
    return {name: machine for name, machine in found.items() if machine is not None}


def machine_of(section: Section) -> Machine | None:
    """Read one machine; None where it is none. Mistakes are noted in the section."""
    platform = _chosen(section, "platform", tuple(targets.FAMILIES))
    architecture = _chosen(section, "architecture", targets.KNOWN)
    given = [key for key in ENGINE_KEYS if key in section]
    if len(given) > 1:
        section.problem(given[1], f"given twice, also as {given[0]}; remove one")
    engine = [_chosen(section, key, ENGINES, wanted=key == (given or ENGINE_KEYS)[0]) for key in ENGINE_KEYS]
    mpi, gpu = _runtime(section, "mpi", "nompi"), _runtime(section, "gpu", "nogpu")
    base = brief_text(section, "base", NAME, "the name of an image of the catalogue") or USUAL_BASE
    builder = brief_text(section, "spack-builder", NAME, "the name of an image of the catalogue") or USUAL_BUILDER
    section.close()
    if platform and architecture and targets.family(architecture) != targets.FAMILIES[platform]:
        section.problem(
            "architecture", f"{architecture} is of the family {targets.family(architecture)}, and no part of {platform}"
        )
    if not (platform and architecture and any(engine)):
        return None
    return Machine(
        name=section.name,
        platform=platform,
        architecture=architecture,
        engine=next(filter(None, engine)),
        mpi=mpi,
        gpu=gpu,
        base=base.lower(),
        builder=builder.lower(),
    )


def brief_text(section: Section, key: str, pattern: re.Pattern[str], wanted: str) -> str:
    """Return a text, as `Section.text` does; one that is wrong is shown by its beginning."""
    said = section.text(key)
    if said and not pattern.match(said):
        section.problem(key, f"{brief(said)} is not {wanted}")
        return ""
    return said


def _chosen(section: Section, key: str, known: tuple[str, ...], wanted: bool = True) -> str:
    """Return a word of a list; "" where it is not there."""
    if not section.kind(key):
        section.text(key)
        if wanted:
            section.problem(key, f"is missing; {_expected(known)}")
        return ""
    said = section.text(key)
    if said and said not in known:
        close = difflib.get_close_matches(said[:LONGEST_WORD], known, n=1)
        section.problem(
            key, f"{brief(said)} is not known; {_expected(known)}" + (f" (did you mean {close[0]}?)" if close else "")
        )
        return ""
    return said


def _expected(known: tuple[str, ...]) -> str:
    return f"one of {', '.join(known)}" if len(known) <= SHORT else f"one as {known[0]}, {known[2]}, rome or skylake"


def _runtime(section: Section, key: str, without: str) -> Runtime | None:
    """Return an MPI or GPU runtime; an empty text is none."""
    said = section.text(key)
    if not said:
        return None
    try:
        found = Runtime.parse(said)
    except ValueError as error:
        section.problem(key, f"{brief(said)} {error}")
        return None
    if len(said) > LONGEST:
        section.problem(key, f"{brief(said)} has more than {LONGEST} letters")
    if found.name == without:
        section.problem(key, f"{without} means that there is none; leave the key out")
    return found
