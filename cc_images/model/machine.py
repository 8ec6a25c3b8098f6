"""Machines: what an image must be to run on one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cc_images.model import targets
from cc_images.model.catalog import Arch, Format

ENGINES = ("docker", "podman", "singularity", "apptainer", "sarus")
"""Programs that run containers."""

OF_ARCHIVES = ("docker", "podman")
"""Those that take an OCI image alone; the others are given a SIF file, too."""

USUAL_BASE = "cc-debian12-container"
"""The image of the catalogue that images for a machine start from, unless the machine says another."""

USUAL_BUILDER = "cc-spack-builder"
"""The image of the catalogue in which Spack's packages are compiled, unless the machine says another."""

_RUNTIME = re.compile(r"(?P<name>[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*)(@(?P<version>[0-9]+(\.[a-z0-9]+)*))?\Z")


@dataclass(frozen=True, slots=True)
class Runtime:
    """An MPI or a GPU's runtime: a name as Spack has it, and a version or the beginning of one."""

    name: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> Runtime:
        """Return what `openmpi@4` means. Raises ValueError."""
        found = _RUNTIME.match(text)
        if not found:
            raise ValueError("is not NAME or NAME@VERSION, such as openmpi@4")
        return cls(found["name"], found["version"] or "")

    def __str__(self) -> str:
        return f"{self.name}@{self.version}" if self.version else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One entry of machines.yaml, or a machine that a request brings along. `name` is empty for such a one."""

    name: str = ""
    platform: str
    architecture: str
    """A processor as the user names it; `target` is Spack's name."""
    engine: str
    mpi: Runtime | None = None
    gpu: Runtime | None = None
    base: str = USUAL_BASE
    builder: str = USUAL_BUILDER

    @property
    def arch(self) -> Arch:
        """The architecture by Debian's name."""
        return Arch(self.platform.rpartition("/")[2])

    @property
    def target(self) -> str:
        """The processor by Spack's name."""
        return targets.target(self.architecture).name

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats in which its engine takes an image."""
        return (Format.OCI,) if self.engine in OF_ARCHIVES else (Format.OCI, Format.SIF)
