"""Root on this host: how to become root, the tools of builds, and the removal of folders that were root's."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import process

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


TOOLS: Mapping[str, str] = {
    "setpriv": "util-linux",
    "pgrep": "procps",
    "losetup": "mount (util-linux)",
    "sfdisk": "fdisk (util-linux)",
    "sgdisk": "gdisk",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "debootstrap": "debootstrap",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    "zstd": "zstd",
}
"""Programs that a build needs on the host, and the Debian packages that have them."""


def as_root() -> tuple[str, ...]:
    """Return what stands before a command that needs root: nothing for root, `sudo -n --` for others."""
    return () if os.geteuid() == 0 else ("sudo", "-n", "--")


def require_host(tools: Mapping[str, str] | None = None) -> None:
    """Check, before anything runs, that sandboxes can be entered and that the tools of a build are here.

    Raises UserError for a refused sudo, and CCImagesError (reason `missing-tool`) naming every missing program.
    """
    require_tools(build_tools() if tools is None else tools)
    require_root()


def build_tools(kernel_has_fat: bool | None = None) -> dict[str, str]:
    """Return the programs that builds need on this host, each with its package; by default its kernel is asked."""
    has_fat = _kernel_has_fat() if kernel_has_fat is None else kernel_has_fat
    return dict(TOOLS) if has_fat else {**TOOLS, "fusefat": "fusefat; this kernel has no FAT driver"}


def require_tools(tools: Mapping[str, str], path: Sequence[str] = SYSTEM_PATH) -> None:
    """Raise CCImagesError (reason `missing-tool`) naming every program that is missing, with its package."""
    search = ":".join(path)
    missing = {tool: package for tool, package in tools.items() if shutil.which(tool, path=search) is None}
    if missing:
        raise CCImagesError(
            "missing on this host: " + ", ".join(f"{tool} (package {package})" for tool, package in missing.items()),
            hint="`make setup` installs what is needed on Debian and Ubuntu",
            reason=Reason.MISSING_TOOL,
        )


def require_root() -> None:
    """Raise UserError when this user is not root and may not become it through sudo without a password."""
    if os.geteuid() != 0:
        _require_sudo()


def _require_sudo() -> None:
    asked = None
    if shutil.which("sudo") is not None:
        asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if asked is None or asked.returncode != 0:
        said = asked.stderr.strip().splitlines()[-1:] if asked else ["sudo is not installed"]
        raise UserError(
            f"this needs root, and `sudo -n` was refused: {' '.join(said)}",
            hint="run as root, or run `sudo -v` first, or allow this user to use sudo without a password",
            reason=Reason.NO_ROOT,
        )


def remove(folder: Path) -> None:
    """Remove a folder that a sandbox may have left, root's files included, unless something is mounted below it."""
    folder = folder.resolve()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), line.split()[4])
        if f"{place}/".startswith(f"{folder}/"):
            raise CCImagesError(
                f"cannot remove {folder}: {place} is mounted there", hint=f"umount {place}", reason=Reason.MOUNTED
            )
    command = ("rm", "-rf", "--one-file-system", "--", str(folder))
    subprocess.run(command, env=outside(), capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if folder.exists():  # root's files
        process.run([*as_root(), *command], env=outside())


def _kernel_has_fat() -> bool:
    known = Path("/proc/filesystems").read_text().split()
    return "vfat" in known or any(Path("/lib/modules", os.uname().release).glob("kernel/fs/fat/vfat.ko*"))


@functools.cache
def host_tool(tool: str) -> str:
    """Return the path of the host's own tool that a toolbox script stands before."""
    return shutil.which(tool, path=":".join(SYSTEM_PATH)) or tool


def outside() -> dict[str, str]:
    """Return the environment of commands outside the sandbox: where programs are, and nothing of the user's."""
    return {"PATH": ":".join((*SYSTEM_PATH, os.environ.get("PATH", ""))), "LANG": "C.UTF-8"}
