"""Spack images as a centre uses them: MPI in jobs of Slurm, reproduced by hand, definitions without entries."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_images.builders.spack.lock import read as lock_of
from cc_images.builders.spack.locks import newest
from cc_images.host.containers.archive import plain, read
from cc_images.model.catalog import Arch
from cc_images.store.records import Store
from tests.conftest import REPOSITORY
from tests.real.conftest import Project
from tests.support import containers, mpi_ring
from tests.support.apptainer import Apptainer
from tests.support.containerrun import Storage
from tests.support.slurmbed import REASON as NO_SLURM
from tests.support.slurmbed import SlurmBed
from tests.support.spackimages import MARKS, spack_project, with_sources

pytestmark = [*MARKS, pytest.mark.deep]

ENTRIES = """
Mpi-Builder: {builder: containerfile, depends: [Own-Builder]}
Mpi-Runtime: {builder: containerfile, depends: [CC-Spack-Runtime]}
Ring: {builder: spack, depends: [Mpi-Builder, Mpi-Runtime], formats: [oci, sif]}
"""

INSTALL = "RUN apt-get update && apt-get install -y --no-install-recommends"

RING = {
    "specs": ["ring"],
    "repos": mpi_ring.REPOS,
    "concretizer": mpi_ring.ONE_MPI,
    "packages": {"mpich": mpi_ring.MPICH, "mpi": {"require": ["mpich"]}},
}

FILES = {
    "containers/mpi-builder/Containerfile": f"FROM own-builder\n{INSTALL} mpich libmpich-dev\n",
    "containers/mpi-runtime/Containerfile": f"FROM cc-spack-runtime\n{INSTALL} libmpich12\n",
    "spack/ring/spack.yaml": json.dumps({"spack": RING}),
    **{f"spack/ring/{name}": text for name, text in mpi_ring.REPOSITORY.items()},
    "container_definitions/amd64/flat.yaml": "spack: {specs: [lz4@1.9.4]}\n",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project whose builder image is in the store."""
    project = spack_project(tmp_path_factory.mktemp("centre"), ENTRIES, FILES)
    with_sources(project)
    code, said = project.run("-b", "own-builder", "cc-spack-runtime")
    assert code == 0, said
    yield project
    project.assert_nothing_leaked()


IN_A_TREE = """\
set -eu
for each in dev proc sys; do mount --rbind "/$each" "$0/$each"; done
exec chroot "$0" /opt/spack-environment/enter "$@"
"""


@pytest.mark.skipif(bool(NO_SLURM), reason=NO_SLURM or "-")
def test_mpich_is_the_provider_and_two_ranks_talk_in_a_job_of_slurm(made: Project, tmp_path: Path) -> None:
    """Slurm of the host starts the ranks and tells them of each other by PMI2; nothing of MPI is on the host."""
    code, said = made.run("-b", "ring")
    assert code == 0, said
    text = newest(Store(made.store), "ring-lock", Arch.AMD64)
    assert text is not None
    locked = lock_of(text, "ring")
    assert locked.providers("mpi") == {"mpich"}
    assert locked.version == "1.0"
    archive = made.store / "images" / "Ring.oci.tar"
    names: set[str] = set()
    for each in read(archive).layers:
        with plain(each) as tar:
            names |= {member.name for member in tar if member.isfile()}
    assert len([name for name in names if re.search(r"/libmpi(ch)?\.so", name)]) == 1, "one MPI"
    storage = Storage(tmp_path / "storage")
    try:
        tree = storage.mounted(storage.start(archive))
        inside = ("unshare", "--mount", "sh", "-c", IN_A_TREE, str(tree), "ring")
        apptainer = Apptainer(tmp_path / "apptainer")
        apptainer.folder.mkdir()
        ways: list[tuple[str, ...]] = [inside]
        if not containers.lacking() and not apptainer.make():
            sif = shutil.copy(made.store / "images" / "Ring.sif", apptainer.folder)
            ways.append(tuple(apptainer.command("apptainer", "exec", str(sif), "ring")))
        with SlurmBed(nodes=1) as slurm:
            job = ("--ntasks=2", "--time=2")
            for way in ways:
                said = slurm.say("srun", "--mpi=pmi2", *job, *way)
                heard = sorted(line for line in said.splitlines() if line.startswith("rank"))
                assert heard == ["rank 0 of 2 got 1 by MPICH", "rank 1 of 2 got 0 by MPICH"], said
            alone = slurm.say("srun", "--mpi=none", *job, *inside)
    finally:
        storage.close()
    assert alone.count("rank 0 of 1") == 2, f"without PMI2 each rank is alone: {alone}"


def test_three_lines_reproduce_it_where_cc_images_is_not(made: Project, tmp_path: Path) -> None:
    """By the lines of examples/spack: ONBUILD of images in Docker's format, without a network."""
    example = tmp_path / "spack"
    shutil.copytree(REPOSITORY / "examples" / "spack", example)
    assert len((example / "tool" / "Dockerfile").read_text().splitlines()) == 3
    lines = re.findall(r"^    ((?:skopeo|buildah) .*)$", (example / "README.md").read_text(), re.MULTILINE)
    assert len(lines) == 5
    images = made.store / "images"
    there = {"CC-Spack-Builder.oci.tar": images / "Own-Builder.oci.tar",  # which has a mirror of sources
             "CC-Spack-Runtime.oci.tar": images / "CC-Spack-Runtime.oci.tar"}  # fmt: skip
    storage = Storage(tmp_path / "storage")
    try:
        for line in lines:
            for name, file in there.items():
                line = line.replace(name, str(file))
            words = ["unshare", "--net", *line.split()]
            done = subprocess.run(
                words, cwd=example, env={**storage.environment, "BUILDAH_ISOLATION": "chroot"},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout[-5000:]}"
        name = storage.started("localhost/tool")
        assert "Zip 3.0" in storage.run(name, "env", "zip", "--version")
        assert "/bzip2-1.0.8-" in storage.run(name, "readlink", "-f", "/opt/views/view/bin/bzip2")
        assert not storage.run(name, "sh", "-c", "ls -d /opt/spack* || true").strip(), "Spack stays in the builder"
    finally:
        storage.close()


def test_a_flat_definition_is_built_and_its_key_is_nowhere(made: Project) -> None:
    """Its version is that of its lock; the private key of the build cache is in no layer, log or file of the store."""
    code, said = made.run("-b", "flat")
    assert code == 0, said
    archive = made.store / "images" / "flat.oci.tar"
    assert read(archive).configuration.labels["version"] == "1.9.4"
    home = made.folder / ".config/cc-images/spack/gnupg"
    private = [file.read_bytes() for file in (home / "private-keys-v1.d").iterdir()]
    assert private
    for each in read(archive).layers:
        with plain(each) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                content = file.read() if file is not None else b""
                assert not any(key in content for key in private), member.name
    for path in [*made.store.glob("logs/**/*"), *made.store.glob("runs/**/*"), *made.store.glob("spack/**/*")]:
        assert not path.is_file() or not any(key in path.read_bytes() for key in private), path
