"""What a sandbox may open and use up: control groups of its own, where the host has them.

Root in a sandbox makes nodes for the images that it builds; without a control group it could make one for a disk of
the host, and open it. Version 1 is told in files; version 2 by a small BPF program (linux/bpf.h:
BPF_PROG_TYPE_CGROUP_DEVICE). Processes and memory are bounded for the host's sake: a build that runs wild is ended,
not what else the host does. The standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cc_images.toolbox.kernel import check, libc
else:
    from kernel import check, libc

CHARACTER = (
    (1, 3),
    (1, 5),
    (1, 7),
    (1, 8),
    (1, 9),
    (5, 0),
    (5, 1),
    (5, 2),
    (136, None),
    (10, 229),
    (10, 234),
    (10, 237),
    (10, 200),
)
"""null, zero, full, random, urandom; tty, console, ptmx, pts; fuse, btrfs-control, loop-control, tun: devices.txt."""
BLOCK = ((7, None),)
"""Loop devices."""

PREFIX = "cc-images-"
SYS_BPF = {"x86_64": 321, "aarch64": 280}
BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI = 5, 8, 15, 6, 2


PROCESSES = 16384
"""How many processes and threads a sandbox may have."""

SPARED = 20
"""The host keeps one part in so many of its memory from a sandbox."""


class Group:
    """Control groups that let their processes open few devices, and bound what they use up.

    `folder` is that for devices, None where the host has none.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._before: Path | None = None
        self._bounds: list[tuple[Path, Path]] = []
        """The groups of version 1 that bound processes and memory, each with the one before."""
        for version, place in groups():
            sweep(place)
            with suppress(OSError, KeyError):
                self._make(version, place)
                break
        for limit, value in limits().items():
            self._bound(limit, value)

    def _bound(self, limit: str, value: int) -> None:
        """Bound one thing, in the group for devices if that is of version 2, else in one of its own."""
        for version, place in groups(limit.partition(".")[0]):
            with suppress(OSError):
                if version == 2 and self.folder is not None and self.folder.parent == place:
                    (self.folder / limit).write_text(str(value))
                    return
                folder = place / f"{PREFIX}{os.getpid()}"
                sweep(place)
                if version == 1:
                    folder.mkdir()
                    (folder / ONE.get(limit, limit)).write_text(str(value))
                    (folder / "cgroup.procs").write_text(str(os.getpid()))
                    self._bounds.append((folder, place))
                    return

    def _make(self, version: int, place: Path) -> None:
        folder = place / f"{PREFIX}{os.getpid()}"
        folder.mkdir()
        try:
            if version == 1:
                (folder / "devices.deny").write_text("a")
                for rule in ("c *:* m", "b *:* m", *told("c", CHARACTER), *told("b", BLOCK)):
                    (folder / "devices.allow").write_text(rule)
            else:
                attach(folder)
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            folder.rmdir()
            raise
        self.folder, self._before = folder, place

    def leave(self) -> None:
        """Go back to the groups from before, and remove these, in which nobody is any more."""
        for folder, before in self._bounds:
            with suppress(OSError):
                (before / "cgroup.procs").write_text(str(os.getpid()))
                folder.rmdir()
        if self.folder is not None and self._before is not None:
            with suppress(OSError):
                (self._before / "cgroup.procs").write_text(str(os.getpid()))
                self.folder.rmdir()


ONE = {"memory.max": "memory.limit_in_bytes"}
"""What version 1 calls a limit."""


def limits() -> dict[str, int]:
    """Return what a sandbox may use up, by the names of version 2."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"pids.max": PROCESSES, "memory.max": memory - memory // SPARED}


def groups(controller: str = "devices") -> list[tuple[int, Path]]:
    """Return this process's own control groups that may bound something, by version; see cgroups(7)."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        own.update(dict.fromkeys(names.split(","), path))
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), before.split()[4])
        if kind == "cgroup" and controller in options.split(","):
            found.append((1, Path(place + own.get(controller, "/"))))
        elif kind == "cgroup2":
            found.append((2, Path(place + own.get("", "/"))))
    return sorted(found)


def sweep(place: Path) -> None:
    """Remove the groups that killed sandboxes have left; those in use refuse."""
    for each in place.glob(f"{PREFIX}*"):
        owner = each.name.removeprefix(PREFIX)
        if owner == str(os.getpid()) or not os.path.exists(f"/proc/{owner}"):  # else it may just be made
            with suppress(OSError):
                each.rmdir()


def told(kind: str, rules: tuple[tuple[int, int | None], ...]) -> list[str]:
    """Return rules as the files of version 1 take them."""
    return [f"{kind} {major}:{'*' if minor is None else minor} rwm" for major, minor in rules]


def attach(folder: Path) -> None:
    """Bound the devices of a group of version 2."""
    code = program()
    instructions, license_ = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    order = struct.pack(
        "=IIQQ", BPF_PROG_TYPE_CGROUP_DEVICE, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(license_)
    )
    loaded = bpf(BPF_PROG_LOAD, order + bytes(96))
    group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        bpf(BPF_PROG_ATTACH, struct.pack("=4I", group, loaded, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI) + bytes(16))
    finally:
        os.close(group)
        os.close(loaded)


def program() -> bytes:
    """Return eBPF that allows mknod of all devices, and to open those above; see struct bpf_cgroup_dev_ctx."""

    def step(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
        return struct.pack("=BBhi", code, target | source << 4, offset, value)

    def answer(value: int) -> bytes:
        return step(0xB7, 0, value=value) + step(0x95)

    load, unequal, masked, shifted = 0x61, 0x55, 0x57, 0x77
    made = step(load, 2, 1, 0) + step(0xBF, 3, 2) + step(masked, 3, value=0xFFFF) + step(shifted, 2, value=16)
    made += step(load, 4, 1, 4) + step(load, 5, 1, 8)
    made += step(unequal, 2, offset=2, value=1) + answer(1)  # BPF_DEVCG_ACC_MKNOD alone
    for kind, rules in ((1, BLOCK), (2, CHARACTER)):
        for major, minor in rules:
            last = b"" if minor is None else step(unequal, 5, offset=2, value=minor)
            rest = len(last) // 8 + 2
            made += step(unequal, 3, offset=rest + 1, value=kind) + step(unequal, 4, offset=rest, value=major)
            made += last + answer(1)
    return made + answer(0)


def bpf(command: int, order: bytes) -> int:
    """Make the system call of this name."""
    result = libc.syscall(SYS_BPF[os.uname().machine], command, order, len(order))
    check(result, "bpf")
    return int(result)
