"""The files that describe a step of a workflow: eflows4hpc.yaml, requirements.txt, spack.yaml and post_inst.sh."""

from __future__ import annotations

import re
from pathlib import Path

from cc_images.config.strict import refuse, text_of, whole
from cc_images.config.yaml_file import Section
from cc_images.errors import Reason, UserError
from cc_images.model.plain_text import brief
from cc_images.model.workflow import Step

LISTS = "eflows4hpc.yaml"
REQUIREMENTS = "requirements.txt"
SPACK = "spack.yaml"
SCRIPT = "post_inst.sh"
FILES = (LISTS, REQUIREMENTS, SPACK, SCRIPT)

MOST = 500
"""Entries of a list."""

LONGEST = 300
"""Characters of an entry."""

_APT = re.compile(
    r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]"  # Debian Policy 5.6.1; a - at the end of all would remove it
    r"(:[a-z0-9]+(-[a-z0-9]+)*)?"
    r"(=[A-Za-z0-9.+:~-]*[A-Za-z0-9.+~]|/[a-z]([a-z0-9-]*[a-z0-9])?)?\Z"
)
_COMPARED = r"(===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_PIP = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*(\[\s*[A-Za-z0-9._-]+(\s*,\s*[A-Za-z0-9._-]+)*\s*\])?"
    rf"\s*({_COMPARED}(\s*,\s*{_COMPARED})*)?\s*\Z"
)
"""Names and versions of PEP 508; markers and addresses are for requirements.txt."""
_SPEC = re.compile(r"[A-Za-z0-9_%^@~+][A-Za-z0-9_.,:=@~+%^ -]*\Z")


def describes(folder: Path) -> bool:
    """Say whether a folder has a description."""
    return any((folder / name).is_file() for name in FILES)


def require_described(folder: Path) -> None:
    """Raise UserError for a folder without a description."""
    if not describes(folder):
        raise UserError(
            f"{folder} describes nothing", hint=f"it needs one of {', '.join(FILES)}", reason=Reason.MISSING_FILE
        )


def step_of(folder: Path) -> Step:
    """Return what the description in a folder asks for. Raises UserError for mistakes."""
    there = [name for name in FILES if (folder / name).is_file()]
    apt, pip, specs = _lists(folder) if LISTS in there else ((), (), ())
    if SPACK in there and specs:
        raise UserError(f"{LISTS}: spack: {SPACK} has specs, too", hint="say all in one", reason=Reason.VALUE)
    if SPACK in there:
        _require_environment(folder)
    return Step(
        apt=apt,
        pip=pip,
        specs=specs,
        has_requirements=REQUIREMENTS in there,
        has_environment=SPACK in there,
        has_script=SCRIPT in there,
    )


def _lists(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    problems: list[str] = []
    text = text_of(folder / LISTS, LISTS)
    if not text.strip():
        return (), (), ()
    section = whole(text, problems, LISTS, "apt, pip and spack")
    apt = _words(section, "apt", _APT, "the name of a package of Debian, as NAME, NAME=VERSION or NAME/RELEASE")
    pip = _words(section, "pip", _PIP, f"a name with versions; {REQUIREMENTS} takes all that pip does")
    spack = _words(section, "spack", _SPEC, f"a spec; {SPACK} takes whole environments")
    section.close()
    refuse(problems)
    return apt, pip, spack


def _words(section: Section, key: str, pattern: re.Pattern[str], wanted: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(section.words(key)))
    if len(found) > MOST:
        section.problem(key, f"has more than {MOST} entries")
    for each in found[:MOST]:
        if len(each) > LONGEST or not pattern.match(each):
            section.problem(key, f"{brief(each)} is not {wanted}")
    return found


def _require_environment(folder: Path) -> None:
    """Raise UserError for a spack.yaml that has no mapping `spack`; what is in that is its builder's business."""
    problems: list[str] = []
    section = whole(text_of(folder / SPACK, SPACK), problems, SPACK, "spack")
    if section.kind("spack") != "mapping":
        section.problem("spack", "must be a mapping, as Spack's environments have it")
    refuse(problems)
