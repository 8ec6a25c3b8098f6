"""Leftovers of dead runs on this host: processes, mounts and loop devices that point into their folders.

Nothing should be: sandboxes and guests die with their run. This is for hosts on which something else went wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.errors import CCImagesError
from cc_images.host import process
from cc_images.host.files import try_lock
from cc_images.host.root import PYTHON, TOOLBOX, as_root

USED = Path("/run/cc-images")
"""Where each interpreter that sandboxes have registered for the whole host has a file."""

MOVING = ("PWD", "OLDPWD", "_")
"""Variables that say where a shell is, not whose it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One thing that is left, and the command that removes it."""

    what: str
    command: tuple[str, ...]
    hosts: bool = True
    """Whether that takes the host's own root."""


def dead_runs(root: Path) -> list[Path]:
    """Return the folders below `root`/work whose runs are over."""
    found = []
    for work in sorted((root / "work").glob("*")):
        with suppress(OSError):  # another user's: let it count as running
            if work.is_dir() and (descriptor := try_lock(work / "lock")) is not None:
                os.close(descriptor)
                found.append(work)
    return found


def find(folders: Sequence[Path]) -> list[Leftover]:
    """Return what points into the folders, in the order in which it can be removed; and interpreters without users."""
    marks = list(dict.fromkeys(f"{name}/" for folder in folders for name in (folder, folder.resolve())))
    if not marks:
        return _interpreters()
    return [*_processes(marks), *_mounts(marks), *_loops(marks), *_interpreters()]


def remove(leftover: Leftover) -> str:
    """Remove one; return what was done, or why it could not be."""
    try:
        process.run(
            [*as_root(leftover.hosts), *leftover.command], env={"PATH": os.environ.get("PATH", os.defpath)}, timeout=30
        )
    except CCImagesError as error:
        return f"{leftover.what}: cannot be removed: {error.message}"
    return f"{leftover.what}: removed"


def _processes(marks: Sequence[str]) -> list[Leftover]:
    """Return the processes whose environment points into the folders, as that of each program of a run does.

    A person who looks at what is left is spared: a shell has such a path in PWD only, and a terminal.
    """
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if _has_terminal(place):
                continue
            words = (place / "environ").read_bytes().decode(errors="replace").split("\0")
            values = [f"{value}/" for name, _, value in (word.partition("=") for word in words) if name not in MOVING]
            if any(value.startswith(mark) for value in values for mark in marks):
                name = (place / "comm").read_text().strip()
                what, command = f"process {place.name} ({name})", ("kill", "-KILL", place.name)
                found.append(Leftover(what=what, command=command, hosts=place.stat().st_uid == 0))
    return found


def _has_terminal(place: Path) -> bool:
    """Say whether a process has a controlling terminal; see proc(5), the field tty_nr of stat."""
    return (place / "stat").read_text().rpartition(")")[2].split()[4] != "0"


def _mounts(marks: Sequence[str]) -> list[Leftover]:
    places = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), line.split()[4])
        if any(f"{place}/".startswith(mark) for mark in marks):
            places.append(place)
    return [Leftover(what=f"mount {place}", command=("umount", "--", place)) for place in reversed(places)]


def _interpreters() -> list[Leftover]:
    """Return the entries of the host's binfmt_misc whose sandboxes are gone; see `toolbox/interpreters.py`."""
    if not any(USED.glob("cc-images-*")):
        return []
    program = (*PYTHON, str(TOOLBOX / "interpreters.py"))
    said: list[str] = []
    try:
        process.run(
            [*as_root(hosts=True), *program, "left"],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            output=process.Output(on_line=said.append),
        )
    except CCImagesError as error:
        return [Leftover(what=f"binfmt_misc may have entries of ours: {error.message}", command=program)]
    return [Leftover(what=f"binfmt_misc entry {name}", command=program) for line in said for name in line.split()]


def _loops(marks: Sequence[str]) -> list[Leftover]:
    found = []
    for backing in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        with suppress(OSError):
            file, device = backing.read_text().strip(), f"/dev/{backing.parents[1].name}"
            if any(file.startswith(mark) for mark in marks):
                found.append(Leftover(what=f"loop device {device} of {file}", command=("losetup", "-d", device)))
    return found
