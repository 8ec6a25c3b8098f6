"""Requests for images: which step of which workflow, for which machine; and the names that such an image has. Pure.

The name of an image is `<prefix><workflow>_<step>_<architecture>_<mpi|nompi>_<gpu|nogpu>`, with `:<version>` behind it
as an identifier, and with `_<version>.sif` as the name of a SIF file. All is in lower case, and valid as the name of an
OCI repository. The parts cannot imitate each other, so two requests that ask for something else never have one name:

- A single `_` stands between parts and nowhere else: a `_` inside a part is written `__`. Parts begin and end with a
  letter or digit, and have `.`, `_` and `-` one at a time between these.
- Capital letters become small ones, and which they were is said at the part's end: `--` and the letters' places as
  the bits of a hexadecimal number, the first place lowest. No part has `--` itself.
- The `@` of `openmpi@4` is written `-`: names have no digit behind a `-`, and versions begin with one.
- The `/` of a version (a branch may have some) is written `..`.

The images that a machine names itself (`base`, `spack-builder`) are in no name: machines that differ in nothing else
share a name, and each build replaces the other's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from cc_images.model.machine import Machine, Runtime

LATEST = "latest"

LONGEST_WORD = 40
"""Letters of a workflow's or step's name, and of a version."""

LONGEST_NAME = 100
"""Letters of an image's name, as in the catalogue."""

WORD = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*\Z")
VERSION = re.compile(r"[A-Za-z0-9]+([._/-][A-Za-z0-9]+)*\Z")
PREFIX = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*[.-]?\Z")

BASE = "BASE"
"""The workflow and step that stand for nothing but the base image for a machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """A request. `push` is None where it says nothing."""

    machine: Machine
    workflow: str
    step: str
    version: str = LATEST
    path: Path | None = None
    """A folder of one's own that describes the step, in place of the one in the repository of workflows."""
    force: bool = False
    push: bool | None = None
    file: str = field(default="request", compare=False)
    """Where the request is from, for messages."""

    @property
    def is_base(self) -> bool:
        """Whether it asks for the base image alone."""
        return self.workflow == BASE == self.step

    @property
    def tag(self) -> str:
        """The version as it is written behind an image's name."""
        return _part(self.version).replace("/", "..")


def name_of(request: ImageRequest, prefix: str = "") -> str:
    """Return the name of a request's image, see above."""
    machine = request.machine
    parts = (
        _part(request.workflow),
        _part(request.step),
        _part(machine.architecture),
        _runtime(machine.mpi, "nompi"),
        _runtime(machine.gpu, "nogpu"),
    )
    return prefix + "_".join(parts)


def identifier(name: str, request: ImageRequest) -> str:
    """Return the identifier of a request's image, whose name was published as `name`."""
    return f"{name.lower()}:{request.tag}"


def sif_name(name: str, request: ImageRequest) -> str:
    """Return the name of its SIF file."""
    return f"{name.lower()}_{request.tag}.sif"


def _part(text: str) -> str:
    capitals = sum(1 << place for place, letter in enumerate(text) if letter.isupper())
    return text.lower().replace("_", "__") + (f"--{capitals:x}" if capitals else "")


def _runtime(runtime: Runtime | None, without: str) -> str:
    return without if runtime is None else str(runtime).replace("@", "-")
