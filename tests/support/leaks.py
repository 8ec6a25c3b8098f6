"""A look at what runs leave behind on the host: processes and loop devices, while others come and go."""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import suppress
from pathlib import Path

LOOP_MAJOR = 7
"""The major number of loop devices, by the kernel's devices.txt."""


def processes(mark: str) -> dict[str, str]:
    """Return the command lines, by process id, of those other processes whose words or environment hold the mark."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            words, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
            if mark.encode() in words + environment and process.name != str(os.getpid()):
                found[process.name] = words.replace(b"\0", b" ").decode(errors="replace")
    return found


def loops(folder: Path) -> set[str]:
    """Return the loop devices of files below a folder, as the host sees it; other builds on this host have theirs."""
    return {device for device, file in _bound_loops().items() if file.is_relative_to(folder)}


def orphaned_loops() -> set[str]:
    """Return the loop devices that nothing would ever free: no process has them open or mounted, and no file is there.

    A sandbox's devices look so when it has ended without freeing them: the kernel then names their files by a mount
    that is gone. Between two looks at the processes one may hand a device to another, so what counts was seen twice.
    """
    return _lost_loops() & _lost_loops()


def remove_unmounted(folder: Path) -> None:
    """Remove a folder, unless something is mounted in it: that may be the host's own /dev."""
    if str(folder) not in Path("/proc/self/mountinfo").read_text():
        shutil.rmtree(folder, ignore_errors=True)


def _bound_loops() -> dict[str, Path]:
    found = {}
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # gone meanwhile
            found[f"/dev/{backing.parts[3]}"] = Path(backing.read_text().strip())
    return found


def _lost_loops() -> set[str]:
    lost, held = {device for device, file in _bound_loops().items() if not file.exists()}, set()
    for process in Path("/proc").glob("[0-9]*") if lost else ():
        with suppress(OSError):
            held |= set(re.findall(rf" {LOOP_MAJOR}:(\d+) ", (process / "mountinfo").read_text()))
            for file in (process / "fd").iterdir():
                with suppress(OSError):
                    status = file.stat()
                    if stat.S_ISBLK(status.st_mode) and os.major(status.st_rdev) == LOOP_MAJOR:
                        held.add(str(os.minor(status.st_rdev)))
    return lost - {f"/dev/loop{number}" for number in held}
