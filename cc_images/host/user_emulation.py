"""Programs of other architectures on this host: their user-mode emulators, and the kernel's signs of them.

To add an architecture: its line in USER_EMULATORS. `boottest.qemu` has the machines to boot images on.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Arch

HERE = os.uname().machine
"""This host's architecture, by the kernel's name."""

TWINS_ON = Arch.AMD64
"""The host's architecture for which there is an interpreter that starts twins."""

SEARCH = "/usr/local/bin:/usr/bin:/bin"

COMPILER = "cc"

PT_INTERP = 3
"""The kind of a program header that names the dynamic loader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEmulator:
    """Who runs an architecture's programs: QEMU in user mode, statically linked since it starts in any root directory.

    `magic` and `mask` are the first bytes of the programs' ELF header, and which of their bits count, in hexadecimal
    digits: class, byte order, kind (executable or shared object) and `e_machine`; see elf(5).
    """

    programs: tuple[str, ...]
    """Its names: with the ending `-static` where the distribution has others, too."""
    package: str
    magic: str
    mask: str = "ffffffffffffff00fffffffffffffffffeffffff"

    @property
    def path(self) -> Path | None:
        """Where it is on this host."""
        found = (shutil.which(program, path=SEARCH) for program in self.programs)
        return next((path for each in found if each and _is_static(path := Path(each).resolve())), None)


USER_EMULATORS: Mapping[Arch, UserEmulator] = {
    Arch.AMD64: UserEmulator(
        programs=("qemu-x86_64-static", "qemu-x86_64"),
        package="qemu-user-static",
        magic="7f454c4602010100000000000000000002003e00",
    ),
    Arch.ARM64: UserEmulator(
        programs=("qemu-aarch64-static", "qemu-aarch64"),
        package="qemu-user-static",
        magic="7f454c460201010000000000000000000200b700",
    ),
}


def _is_static(path: Path) -> bool:
    """Say whether a program is linked statically: nothing in its program headers names a dynamic loader (elf(5))."""
    with path.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or not header.startswith(b"\x7fELF\x02\x01"):
            return False
        start, (size, count) = struct.unpack_from("<Q", header, 32)[0], struct.unpack_from("<HH", header, 54)
        file.seek(start)
        table = file.read(size * count)
    return all(struct.unpack_from("<I", table, at)[0] != PT_INTERP for at in range(0, len(table), size))


def is_foreign(arch: Arch) -> bool:
    """Say whether an architecture is another one than this host's."""
    return arch.machine != HERE


@cache
def has_private_registries() -> bool:
    """Say whether a user namespace has a binfmt_misc of its own, as since Linux 6.7."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return release is not None and (int(release[1]), int(release[2])) >= (6, 7)


def runs_programs(arch: Arch) -> bool:
    """Say whether this host can run an architecture's programs, as a build for it must."""
    return not is_foreign(arch) or USER_EMULATORS[arch].path is not None


def require_programs(arches: Collection[Arch]) -> None:
    """Raise UserError for an architecture whose programs this host cannot run."""
    for arch in sorted(arches):
        if not runs_programs(arch):
            raise UserError(
                f"this host cannot run programs for {arch}, which builds for it need",
                hint=remedy(arch),
                reason=Reason.NO_EMULATION,
            )


def remedy(arch: Arch) -> str:
    """Return what can be done on a host that cannot run an architecture's programs."""
    return f"install {USER_EMULATORS[arch].package}, build on an {arch} host, or choose with -a"


def why_no_twins(arch: Arch, here: str = HERE) -> str:
    """Return why programs of another architecture have no native twins on this host; empty when they may have."""
    if TWINS_ON.machine != here:
        return f"twins are made on {TWINS_ON} hosts only"
    if shutil.which(COMPILER, path=SEARCH) is None:
        return "there is no C compiler (package gcc)"
    return ""


@cache
def emulator_digest(arch: Arch) -> str:
    """Return the sha256 of the emulator that runs an architecture's programs here; empty on its own hosts."""
    if not is_foreign(arch):
        return ""
    path = USER_EMULATORS[arch].path
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else "missing"


def registration(arch: Arch, interpreter: Path | None = None) -> dict[str, str | bool]:
    """Return what the sandbox registers: the interpreter that starts twins, or QEMU itself.

    QEMU is registered for the whole host: without twins, what bootstraps may be rpm, which does a chroot of its own.
    """
    emulator = USER_EMULATORS[arch]
    path = interpreter or emulator.path
    assert path is not None, "the host was found able to run these programs"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "name": f"cc-images-{arch.machine}-{digest[:12]}",
        "magic": emulator.magic,
        "mask": emulator.mask,
        "path": str(path),
        "private": interpreter is not None,
    }
