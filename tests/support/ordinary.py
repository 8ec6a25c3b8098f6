"""Run a command as an ordinary user who is known to nobody else, with subordinate ids; this host stays as it is.

    ordinary.py FOLDER… -- COMMAND…

The FOLDERs are the user's own; the Python environment and the repository can be read. All of that is so in a mount
namespace of the command's own: the user's entries in /etc, devices that everybody may open on common hosts, and ways
to folders that lie in somebody's home. The process stays the same, so signals are the command's.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path

from cc_images.toolbox import kernel

NAME, ID, FIRST = "ordinary", 12345, 700000
ENTRIES = {
    "/etc/passwd": f"{NAME}:x:{ID}:{ID}::/nonexistent:/bin/sh\n",
    "/etc/group": f"{NAME}:x:{ID}:\n",
    "/etc/subuid": f"{NAME}:{FIRST}:65536\n",
    "/etc/subgid": f"{NAME}:{FIRST}:65536\n",
}
DEVICES = ("/dev/fuse", "/dev/net/tun", "/dev/kvm")


def main(folders: list[str], command: list[str]) -> None:
    """Become the user, and the command."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.keep_mounts_private()
    hold = Path("/mnt")
    kernel.mount("tmpfs", str(hold), "tmpfs")
    for number, (file, entry) in enumerate(ENTRIES.items()):
        changed = hold / f"entries-{number}"
        before = Path(file).read_text() if os.path.exists(file) else ""
        changed.write_text(before.rstrip("\n") + "\n" + entry)
        Path(file).touch()
        kernel.mount(str(changed), file, flags=kernel.MS_BIND)
    for number, device in enumerate(DEVICES):
        if os.path.exists(device):
            os.mknod(hold / f"device-{number}", stat.S_IFCHR | 0o666, os.stat(device).st_rdev)
            (hold / f"device-{number}").chmod(0o666)
            kernel.mount(str(hold / f"device-{number}"), device, flags=kernel.MS_BIND)
    for folder in map(Path, folders):
        for path in [folder, *folder.rglob("*")]:
            if path.lstat().st_uid < FIRST:
                os.chown(path, ID, ID, follow_symlinks=False)
    repository = Path(__file__).parents[2]
    reveal([*map(Path, folders), repository, Path(sys.prefix), Path(sys.base_prefix)], hold)
    assert pwd.getpwuid(ID).pw_name == NAME
    os.setgroups([])
    os.setresgid(ID, ID, ID)
    os.setresuid(ID, ID, ID)
    os.execvp(command[0], command)


def reveal(places: list[Path], hold: Path) -> None:
    """Let all users go to these folders: what lies on the way and is closed shows nothing else than the way."""
    closed: dict[Path, list[Path]] = {}
    for place in dict.fromkeys(each.resolve() for each in places):
        shut = [each for each in reversed(place.parents) if not each.stat().st_mode & stat.S_IXOTH]
        if shut:
            closed.setdefault(shut[0], []).append(place)
    for number, (gate, behind) in enumerate(closed.items()):
        for index, place in enumerate(behind):
            kept = hold / f"kept-{number}-{index}"
            kept.mkdir()
            kernel.mount(str(place), str(kept), flags=kernel.MS_BIND | kernel.MS_REC)
        kernel.mount("tmpfs", str(gate), "tmpfs", data="mode=755")
        for index, place in enumerate(behind):
            place.mkdir(parents=True, exist_ok=True)
            kernel.mount(str(hold / f"kept-{number}-{index}"), str(place), flags=kernel.MS_BIND | kernel.MS_REC)


if __name__ == "__main__":
    at = sys.argv.index("--")
    main(sys.argv[1:at], sys.argv[at + 1 :])
