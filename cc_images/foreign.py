"""Programs of other architectures on this host: who runs them in user mode, and what the kernel knows them by.

To add an architecture: its line in USER_EMULATORS. Machines to boot images on are `emulation`'s business.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cc_images.errors import UserError
from cc_images.model import Arch

HERE = os.uname().machine
"""This host's architecture, by the kernel's name."""

TWINS_ON = Arch.AMD64
"""The host's architecture for which there is an interpreter that starts twins."""

SEARCH = "/usr/local/bin:/usr/bin:/bin"

COMPILERS = "cc"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEmulator:
    """Who runs an architecture's programs: QEMU in user mode, statically linked since it starts in any root directory.

    `magic` and `mask` are the first bytes of the programs' ELF header, and which of their bits count, in hexadecimal
    digits: class, byte order, kind (executable or shared object) and `e_machine`; see elf(5).
    """

    program: str
    package: str
    magic: str
    mask: str = "ffffffffffffff00fffffffffffffffffeffffff"

    @property
    def path(self) -> Path | None:
        """Where it is on this host."""
        found = shutil.which(self.program, path=SEARCH)
        return Path(found).resolve() if found else None


USER_EMULATORS: Mapping[Arch, UserEmulator] = {
    Arch.AMD64: UserEmulator(
        program="qemu-x86_64-static", package="qemu-user-static", magic="7f454c4602010100000000000000000002003e00"
    ),
    Arch.ARM64: UserEmulator(
        program="qemu-aarch64-static", package="qemu-user-static", magic="7f454c460201010000000000000000000200b700"
    ),
}


def is_foreign(arch: Arch) -> bool:
    """Say whether an architecture is another one than this host's."""
    return arch.machine != HERE


def runs_programs(arch: Arch) -> bool:
    """Say whether this host can run an architecture's programs, as a build for it must."""
    return not is_foreign(arch) or USER_EMULATORS[arch].path is not None


def require_programs(arches: Collection[Arch]) -> None:
    """Raise UserError for an architecture whose programs this host cannot run."""
    for arch in sorted(arches):
        if not runs_programs(arch):
            raise UserError(
                f"this host cannot run programs for {arch}, which a build for it must",
                hint=f"install {USER_EMULATORS[arch].package}, build on an {arch} host, or choose with -a",
                reason="no-emulation",
            )


def why_no_twins(arch: Arch) -> str:
    """Return why programs of another architecture have no native twins on this host; empty when they may have."""
    if TWINS_ON.machine != HERE:
        return f"twins are made on {TWINS_ON} hosts only"
    if shutil.which(COMPILERS, path=SEARCH) is None:
        return "there is no C compiler (package gcc)"
    return "" if runs_programs(arch) else "there is no emulator for what has no twin"


@cache
def emulator_digest(arch: Arch) -> str:
    """Return the sha256 of the emulator that runs an architecture's programs here; empty on its own hosts."""
    if not is_foreign(arch):
        return ""
    path = USER_EMULATORS[arch].path
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else "missing"


def registration(arch: Arch, interpreter: Path | None = None) -> dict[str, str | bool]:
    """Return what the sandbox is told to register: an interpreter of the given kind, or QEMU itself."""
    emulator = USER_EMULATORS[arch]
    path = interpreter or emulator.path
    assert path is not None, "the host was found able to run these programs"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "name": f"cc-images-{arch.machine}-{digest[:12]}",
        "magic": emulator.magic,
        "mask": emulator.mask,
        "path": str(path),
        "private": True,
    }
