"""Projects whose images a real Spack builds: the catalogue's two, and a builder that has the mirror of sources."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, clean_environment, lacking, write_files
from tests.real.conftest import Project, host_mirrors
from tests.support import spackbed

MARKS = (
    pytest.mark.skipif(bool(spackbed.REASON), reason=spackbed.REASON or "-"),
    pytest.mark.skipif(bool(why := lacking(("buildah", "unshare"))), reason=why or "-"),
    pytest.mark.skipif(os.getuid() != 0, reason="runs a container as root"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the mirror's Spack is for amd64"),
)
"""Where tests with such a project can run."""

BUILDER = "\nOwn-Builder: {builder: containerfile, depends: [CC-Spack-Builder]}\n"

COPIED = "COPY mirror /opt/spack-mirror\nCOPY mirrors.yaml /etc/spack/mirrors.yaml\n"

FILES = {
    "containers/own-builder/Containerfile": f"FROM cc-spack-builder\n{COPIED}",
    "containers/own-builder/mirrors.yaml": (
        'mirrors:: {sources: {url: "file:///opt/spack-mirror", source: true, binary: false}}\n'
    ),
}


def spack_project(folder: Path, entries: str, files: Mapping[str, str]) -> Project:
    """Return a project with the catalogue's images, `own-builder`, these entries and files; nothing is built."""
    write_files(
        folder, images=(REPOSITORY / "images.yaml").read_text() + BUILDER + entries, sites="local: {directory: site}"
    )
    (folder / "elements").symlink_to(REPOSITORY / "elements")
    shutil.copytree(REPOSITORY / "containers", folder / "containers")
    for name, text in {**FILES, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    bed = spackbed.spack_bed()
    shutil.copytree(bed.mirror, folder / "containers/own-builder/mirror")
    environment = clean_environment(folder) | host_mirrors() | bed.catalogue
    return Project(folder, environment | {"PYTHONPATH": str(REPOSITORY), "ARCH": "amd64"}, boots=True)


def with_sources(project: Project) -> None:
    """Let the catalogue's own builder have the mirror, too, for definitions that name no other one."""
    own, builder = (project.folder / "containers" / name for name in ("own-builder", "cc-spack-builder"))
    shutil.copytree(own / "mirror", builder / "mirror")
    shutil.copy(own / "mirrors.yaml", builder)
    with (builder / "Containerfile").open("a") as file:
        file.write(COPIED)
