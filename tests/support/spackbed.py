"""A small Spack for tests, beside the checkout: `setup FOLDER` unpacks it with packages and a mirror of their sources.

CC_IMAGES_TEST_SPACK names another folder that has it. It is unpacked once per machine, and is only read by tests.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import lacking

KIT = Path(os.environ.get("CC_IMAGES_TEST_SPACK") or Path(__file__).parents[3] / "shared" / "spack")

PLACE = Path(os.environ.get("CC_IMAGES_TEST_SPACK_PLACE") or Path(__file__).parents[2] / ".venv-spack")
"""The folder in which it is unpacked."""

PROGRAMS = ("zstd", "gcc", "g++", "gfortran", "make", "patchelf", "gpg", "pkgconf", "m4", "autoconf", "libtoolize")
"""Programs of the host that it works with; `script/setup --tests` installs them."""

REASON = "" if (KIT / "setup").exists() else f"needs a Spack for tests: {KIT} is not there (CC_IMAGES_TEST_SPACK)"
REASON = REASON or lacking(PROGRAMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpackBed:
    """An unpacked Spack."""

    folder: Path

    @property
    def spack(self) -> Path:
        """The checkout of Spack."""
        return self.folder / "spack"

    @property
    def packages(self) -> Path:
        """The repository of its packages."""
        return self.folder / "spack_repo" / "builtin"

    @property
    def mirror(self) -> Path:
        """The mirror of sources."""
        return self.folder / "mirror"

    @property
    def wheels(self) -> Path:
        """A folder with the wheel of clingo that the image installs."""
        return self.folder / "wheels"

    @property
    def catalogue(self) -> dict[str, str]:
        """The variables by which the catalogue's images are made of it."""
        return {
            "CC_IMAGES_SPACK": str(self.spack),
            "CC_IMAGES_SPACK_PACKAGES": str(self.packages),
            "CC_IMAGES_SPACK_WHEELS": str(self.wheels),
        }

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which it works on this host; its own settings have the mirror and the externals."""
        return {
            "PATH": f"{self.spack / 'bin'}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/root"),
            "SPACK_ROOT": str(self.spack),
            "SPACK_PYTHON": str(self.folder / "venv/bin/python"),
            "SPACK_USER_CONFIG_PATH": str(self.folder / "config"),
            "SPACK_USER_CACHE_PATH": str(self.folder / "cache"),
            "SPACK_SYSTEM_CONFIG_PATH": "none",
            "SPACK_GNUPGHOME": str(self.folder / "gpg"),
        }


def spack_bed() -> SpackBed:
    """Return the machine's unpacked Spack, which is made when it is first asked for."""
    assert not REASON, REASON
    PLACE.mkdir(parents=True, exist_ok=True)
    bed = SpackBed(folder=PLACE)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (PLACE / "ready").exists():
            _run([KIT / "setup", PLACE, sys.executable])
        if not [*bed.wheels.glob("clingo-*.whl")]:
            wanted = Path(__file__).parents[2] / "containers/cc-spack-builder/clingo.txt"
            aside = PLACE / "wheels.new"
            shutil.rmtree(aside, ignore_errors=True)
            _run([
                *(PLACE / "venv/bin/pip", "-q", "download", "--no-deps", "--only-binary", ":all:"),
                *("--python-version", "3.11", "--platform", "manylinux_2_17_x86_64", "--require-hashes"),
                *("-r", wanted, "-d", aside),
            ])  # fmt: skip
            aside.rename(bed.wheels)
    return bed


def _run(words: list[str | Path]) -> None:
    done = subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
