"""Containerfiles of requested images: a step's packages, its requirements of pip, and its script. Pure.

Nothing of a request becomes part of a shell's text: commands are lists of words, the packages stand behind `--`, and
requirements and the script are files. The folder of the step is there while they run, and not in the image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from cc_images.errors import Reason, UserError
from cc_images.model import targets
from cc_images.model.machine import Machine, Runtime
from cc_images.model.workflow import Step

FILES = "cc-images-files"
"""The folder of the context that has the step's files."""

PLACE = "/opt/cc-images-step"
"""Where they are while the image is built."""

LISTED = "cc-images-requirements.txt"
"""The file with the requirements of the list."""

SCRIPT, REQUIREMENTS = "post_inst.sh", "requirements.txt"

OF_PIP = ("python3", "python3-pip")
"""Packages without which there is no pip."""

OF_MPI: Mapping[str, tuple[str, ...]] = {
    "openmpi": ("openmpi-bin", "libopenmpi-dev"),
    "mpich": ("mpich", "libmpich-dev"),
}
"""Debian's packages of each MPI, the first with its version."""

_OF_APT = re.compile(r"(?:lib)?(openmpi|mpich|mpi-default)")
"""How the names of Debian's packages of an MPI begin."""

FAMILIES: Mapping[str, str] = {"mpi-default": "openmpi"}
"""The MPI that Debian's packages bring which name none."""

VERSIONS: Mapping[str, Mapping[str, str]] = {
    "bookworm": {"openmpi": "4.1.4", "mpich": "4.0.2"},
    "trixie": {"openmpi": "5.0.7"},
    "jammy": {"openmpi": "4.1.2"},
    "noble": {"openmpi": "4.1.6"},
}
"""Versions of MPI by release, where they are known before apt says them."""

COMPILERS: Mapping[str, tuple[int, int]] = {
    "focal": (9, 4), "bookworm": (12, 2), "trixie": (14, 2), "jammy": (11, 4), "noble": (13, 2),
}  # fmt: skip
"""The release of GCC in each."""

UPDATE, FORGET = ("apt-get", "update"), ("find", "/var/lib/apt/lists", "-mindepth", "1", "-delete")
"""Apt's lists are read, and are in no image; all instructions of a file make one layer."""

APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends", "--")
PIP = ("python3", "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--root-user-action=ignore")


def packages_of(step: Step, machine: Machine, release: str) -> tuple[str, ...]:
    """Return the words for apt: the step's own packages, those of its MPI unless Spack has it, and pip.

    Raises UserError for an MPI that Debian does not have, and for a second one.
    """
    if machine.mpi:
        _require_one_mpi(step, machine.mpi)
    needs_pip = step.pip or step.has_requirements
    mpi = _mpi(machine.mpi, release) if machine.mpi and not step.is_of_spack else ()
    return tuple(dict.fromkeys((*step.apt, *mpi, *(OF_PIP if needs_pip else ()))))


def install(packages: Sequence[str]) -> str:
    """Return the lines that install packages, and leave no lists of apt."""
    return "".join(_run(*words) for words in (UPDATE, (*APT, *packages), FORGET)) if packages else ""


def rest(step: Step, machine: Machine, release: str, has_interpreter: bool) -> str:
    """Return the lines behind the packages: pip and the script, which says its interpreter or is a plain shell's."""
    if not (step.pip or step.has_requirements or step.has_script):
        return ""
    environment = _environment(machine, release)
    lines = f"COPY {FILES}/ {PLACE}/\n"
    for name in [*([REQUIREMENTS] if step.has_requirements else []), *([LISTED] if step.pip else [])]:
        lines += _run(*environment, "PIP_BREAK_SYSTEM_PACKAGES=1", *PIP, "--requirement", name)
    if step.has_script:
        lines += _run(*environment, *(() if has_interpreter else ("/bin/sh",)), f"./{SCRIPT}")
    return lines + _run("rm", "-r", PLACE)


def _environment(machine: Machine, release: str) -> tuple[str, ...]:
    """Return the words that begin a command in the step's folder: what it compiles is for the machine's processor."""
    option = targets.option(machine.architecture, COMPILERS.get(release, targets.USUAL_GCC))
    return (
        "env",
        f"--chdir={PLACE}",
        *(f"{name}=-O2 {option}" for name in ("CFLAGS", "CXXFLAGS", "FFLAGS", "FCFLAGS")),
        f"MACHINE_PLATFORM={machine.platform}",
        f"MACHINE_ARCHITECTURE={machine.target}",
        f"MACHINE_MPI={machine.mpi or ''}",
        f"MACHINE_GPU={machine.gpu or ''}",
    )


def _require_one_mpi(step: Step, mpi: Runtime) -> None:
    """Raise UserError where apt would bring another MPI than the machine's, which Spack has if it has a part."""
    for word in step.apt:
        found = _OF_APT.match(word)
        name = FAMILIES.get(found[1], found[1]) if found else mpi.name
        if name != mpi.name or (found and step.is_of_spack):
            raise UserError(
                f"apt: {word} and the machine's {mpi} are two MPIs",
                hint="leave MPI to the machine",
                reason=Reason.VALUE,
            )


def _mpi(mpi: Runtime, release: str) -> tuple[str, ...]:
    if mpi.name not in OF_MPI:
        raise UserError(
            f"mpi: {mpi}: without a Spack part there are {' and '.join(OF_MPI)}, Debian's own",
            hint="ask for one of them, or give the step a Spack part",
            reason=Reason.VALUE,
        )
    known = VERSIONS.get(release, {}).get(mpi.name, "")
    if known and not f"{known}.".startswith(f"{mpi.version}.".lstrip(".")):
        raise UserError(
            f"mpi: {mpi}: {release} has {mpi.name} {known}",
            hint=f"ask for {mpi.name}@{known.partition('.')[0]}, choose another `base:`, or give the step a Spack part",
            reason=Reason.VALUE,
        )
    return tuple(f"{each}{_matching(mpi.version)}" for each in OF_MPI[mpi.name])


def _matching(version: str) -> str:
    """Return the words by which apt takes a package's version that begins so; it knows a * at the end alone."""
    if not version:
        return ""
    return f"={version}{('.', '', '-')[min(version.count('.'), 2)]}*"


def _run(*words: str) -> str:
    return f"RUN {json.dumps(words)}\n"
