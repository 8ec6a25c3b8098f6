"""Environments and their locks by a real Spack on this host: settings, architectures, the cache alone, targets."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cc_images.builders.spack import generated
from cc_images.builders.spack.environment import SOFTWARE, VIEW, Additions, environment
from cc_images.builders.spack.lock import Locked, read
from cc_images.model.catalog import Arch
from tests.conftest import REPOSITORY, lacking
from tests.support import mpi_ring
from tests.support.spackbed import REASON
from tests.support.spackhost import TARGET, SpackHost, with_real

pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "-")

SPECS = ("lz4@1.9.4", "zip")


@pytest.fixture
def host(tmp_path: Path) -> SpackHost:
    return with_real(tmp_path / "host")


# -- what an environment says is what the lock has -------------------------------------------------------------------


def test_version_variant_external_and_provider_are_in_the_lock(host: SpackHost) -> None:
    """The first spec is a virtual package, and the version of the image is that of the package that stands for it."""
    said: dict[str, Any] = {
        "specs": ["mpi", "ring", "zip", "lz4"],
        "repos": mpi_ring.REPOS,
        "concretizer": mpi_ring.ONE_MPI,
        "packages": {
            "bzip2": {"require": ["~shared", "@1.0.8"]},
            "lz4": {"require": "@1.9.4~pic"},
            "mpich": mpi_ring.MPICH,
            "mpi": {"require": ["mpich"]},
        },
    }
    made = environment(said, Arch.AMD64, Additions(target=TARGET))
    text = host.concretized(made, mpi_ring.REPOSITORY)
    locked = read(text, made.first)
    nodes = {each["name"]: each for each in yaml.safe_load(text)["concrete_specs"].values()}
    assert (nodes["bzip2"]["version"], nodes["lz4"]["version"]) == ("1.0.8", "1.9.4")
    assert nodes["bzip2"]["parameters"]["shared"] is False
    assert nodes["lz4"]["parameters"]["pic"] is False
    assert nodes["mpich"]["external"]["path"] == "/usr"
    assert locked.providers("mpi") == {"mpich"}
    assert "openmpi" not in nodes
    assert (locked.version, locked.tag) == ("4.0.2", "4.0.2")
    assert {each.target for each in locked.to_build} == {TARGET}


@pytest.mark.parametrize("target", ["aarch64", "armv8.2a"])
def test_an_environment_for_arm64_is_concretized(host: SpackHost, target: str) -> None:
    """On a host of another family Spack knows the targets alone that specs name; compilers get it by requirement."""
    file = host.folder / "config" / "packages.yaml"
    packages = yaml.safe_load(file.read_text())["packages"]
    packages.pop("all")
    file.write_text(yaml.safe_dump({"packages": packages}))
    there = {"concretizer": {"targets": {"host_compatible": False}}}
    (host.folder / "config" / "concretizer.yaml").write_text(yaml.safe_dump(there))
    said = {
        "specs": [f"{each} target={target}" for each in SPECS],
        "packages": {"all": {"require": [f"target={target}"]}},
    }
    made = environment(said, Arch.ARM64)
    text = host.concretized(made)
    locked = read(text, made.first)
    assert locked.version == "1.9.4"
    assert {"zip", "bzip2", "lz4"} <= {each.name for each in locked.to_build}
    assert {each.target for each in locked.packages.values()} == {target}
    compilers = [each for each in locked.packages.values() if each.name == "gcc"]
    assert [(each.version.partition(".")[2] != "", each.external) for each in compilers] == [(True, True)]


# -- from the cache alone --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SpackHost, Locked]]:
    """Return a host with what an image of two specs has, and its lock."""
    made = with_real(tmp_path_factory.mktemp("built") / "host")
    lock = made.locked(*SPECS)
    compiled, _ = made.built(lock, *SPECS)
    assert {"zip", "lz4", "bzip2"} <= {*compiled}
    yield made, read(lock, SPECS[0])
    shutil.rmtree(made.folder)


DOCUMENTED = r"^    spack (mirror add --signed .*|buildcache keys .*|env create .*|-e .*)$"


def test_an_image_is_installed_again_elsewhere_and_nothing_is_compiled(
    built: tuple[SpackHost, Locked], tmp_path: Path
) -> None:
    """By the lines of the document, with the lock of the image and the cache, and without any source."""
    first, locked = built
    other = with_real(tmp_path / "other")
    (other.folder / "config" / "mirrors.yaml").write_text("mirrors:: {}\n")
    config = other.folder / "config" / "config.yaml"
    config.write_text(re.sub(r"root: \S+/install,", f"root: {tmp_path}/software,", config.read_text()))
    page = (REPOSITORY / "docs" / "build-caches.md").read_text()
    lines = re.findall(
        r"^    spack (mirror add --signed .*|buildcache keys .*|env create .*|-e .*)$", page, re.MULTILINE
    )
    assert len(lines) == 4
    place = first.path(generated.FOLDER)
    said = ""
    for line in lines:
        line = line.replace("/mnt/shared/spack-cache", str(first.caches.folder))
        line = line.replace("./tool", f"{tmp_path}/tool").replace("spack.lock", f"{place}/spack.lock")
        done = other.spack(*line.split())
        said += done.stdout
        assert done.returncode == 0, f"{line}\n{said}"
    assert "Executing phase" not in said, "nothing is compiled"
    tree = tmp_path / "software"
    there = {path.parent.name.rpartition("-")[2] for path in tree.glob("**/.spack")}
    assert {each.hash for each in locked.to_install} <= there
    (program,) = tree.glob("**/zip-3.0-*/bin/zip")
    assert "Zip 3.0" in subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


# -- for which processors --------------------------------------------------------------------------------------------

AVX512 = re.compile(r"%zmm\d|%k[0-7]\b|%[xy]mm(1[6-9]|2\d|3[01])\b")
"""Registers that only processors of x86_64_v4 have."""

DISASSEMBLER = lacking(("objdump", "qemu-x86_64-static"))


def needs_v4(file: Path) -> bool:
    """Say whether a program or library has instructions that processors of x86_64_v3 do not have."""
    said = subprocess.run(["objdump", "-d", "--no-show-raw-insn", file], capture_output=True, text=True, check=True)
    return AVX512.search(said.stdout) is not None


def elves(folder: Path) -> set[Path]:
    """Return the programs and libraries of a tree."""
    files = {path.resolve() for path in folder.rglob("*") if path.is_file()}
    return {path for path in files if path.open("rb").read(4) == b"\x7fELF"}


@pytest.mark.skipif(bool(DISASSEMBLER), reason=DISASSEMBLER or "-")
def test_nothing_of_the_view_needs_more_than_the_target(built: tuple[SpackHost, Locked], tmp_path: Path) -> None:
    host, locked = built
    source = tmp_path / "wide.c"
    source.write_text("void add(float *a, float *b) { for (int i = 0; i < 4096; i++) a[i] += b[i]; }\n")
    for level, needs in (("x86-64-v3", False), ("x86-64-v4", True)):
        made = tmp_path / f"{level}.so"
        options = ["-O3", f"-march={level}", "-mprefer-vector-width=512", "-nostdlib", "-shared", "-fPIC"]
        subprocess.run(["gcc", *options, "-o", made, source], check=True)
        assert needs_v4(made) is needs, "the look itself"
    assert {each.target for each in locked.to_build} == {"x86_64_v3"}
    found = elves(host.path(VIEW))
    assert {"zip", "bzip2", "lz4"} <= {path.name for path in found}
    # gcc-runtime is the compiler's own libraries, which look at the processor before they use such instructions
    compiled = {path for path in found | elves(host.path(SOFTWARE)) if "gcc-runtime-" not in str(path)}
    assert {"zip", "bzip2", "lz4"} <= {path.name for path in compiled}
    assert not [path for path in compiled if needs_v4(path)]
    for name in ("zip", "lz4"):
        program = (host.path(VIEW) / "bin" / name).resolve()
        words = ["qemu-x86_64-static", "-cpu", "Haswell", str(program), "--version"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
