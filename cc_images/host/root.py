"""Root on this host: the ways to it, the tools of builds, and the removal of folders that were root's.

An ordinary user is root in a user namespace of its own where the kernel lets it (`toolbox/rootless.py`), else through
sudo. Loop devices are the host's: they take the host's own root.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import environment

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

TOOLBOX = Path(__file__).parent.parent / "toolbox"
PYTHON = (sys.executable, "-I", "-B")
"""The interpreter of the toolbox's programs: it ignores PYTHON* variables, and root leaves no compiled files there."""

SWITCH = "CC_IMAGES_ROOT"
"""The variable of the user's that names the way: `namespace`, or `sudo` for the host's own root."""

CAP_SYS_ADMIN = 21

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


class Way(StrEnum):
    """A way to root; the values are the words of `SWITCH`, and `root` for whoever is."""

    ROOT = "root"
    NAMESPACE = "namespace"
    SUDO = "sudo"


def way(hosts: bool = False) -> Way:
    """Return how this user becomes root; `hosts` when it must be the host's own root."""
    is_root = os.geteuid() == 0
    outright = Way.ROOT if is_root else Way.SUDO
    if hosts:
        return outright
    said = environment.variable(SWITCH).lower()
    if said not in ("", Way.NAMESPACE, Way.SUDO):
        raise UserError(f"{SWITCH}={said} is no way to root", hint=f"unset it, or say {Way.NAMESPACE} or {Way.SUDO}")
    if said == Way.SUDO or (is_root and said != Way.NAMESPACE and may_mount()):
        return outright
    return Way.NAMESPACE if said == Way.NAMESPACE or not why_no_namespace() else outright


@functools.cache
def why_no_namespace() -> str:
    """Return why this user cannot be root in a namespace; empty where it can. The kernel is asked once."""
    tried = subprocess.run(
        [*_NAMESPACE, "--try"], env=outside(), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if tried.returncode == 0:
        return ""
    return (tried.stderr.strip().splitlines() or ["it is refused"])[-1].removeprefix("sandbox: ")


_NAMESPACE = (*PYTHON, str(TOOLBOX / "rootless.py"))


def may_mount() -> bool:
    """Say whether this process has CAP_SYS_ADMIN, which root in a container may lack."""
    effective = re.search(r"^CapEff:\s*(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return effective is None or bool(int(effective[1], 16) >> CAP_SYS_ADMIN & 1)


def as_root(hosts: bool = False) -> tuple[str, ...]:
    """Return what stands before a command that needs root, or with `hosts` the host's own root."""
    return {Way.ROOT: (), Way.NAMESPACE: _NAMESPACE, Way.SUDO: ("sudo", "-n", "--")}[way(hosts)]


def require_host(tools: Mapping[str, str] | None = None, hosts: Sequence[str] = ()) -> None:
    """Check, before anything runs, that sandboxes can be entered and that the tools of a build are here.

    `hosts` names what takes the host's own root.

    Raises UserError for a refused sudo, and CCImagesError (reason `missing-tool`) naming every missing program.
    """
    require_tools(build_tools() if tools is None else tools)
    require_root(hosts)


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


def require_root(hosts: Sequence[str] = ()) -> None:
    """Raise UserError when there is no way to root, or none to the host's own for what `hosts` names."""
    found = way(bool(hosts))
    if hosts and found is Way.ROOT and not may_mount():
        raise UserError(
            f"{', '.join(hosts)} needs the host's own root, and root here may not mount",
            hint="in a container, give it CAP_SYS_ADMIN; docs/rootless.md",
            reason=Reason.NO_ROOT,
        )
    if found is Way.SUDO:
        _require_sudo(hosts)
    if found is Way.NAMESPACE and (why := why_no_namespace()):
        raise UserError(
            f"{SWITCH}={found}, and there is no such namespace: {why}",
            hint=f"docs/rootless.md says what a host must have; else unset {SWITCH}",
        )


def _require_sudo(hosts: Sequence[str]) -> None:
    asked = None
    if shutil.which("sudo") is not None:
        asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if asked is None or asked.returncode != 0:
        said = asked.stderr.strip().splitlines()[-1:] if asked else ["sudo is not installed"]
        what = f"{', '.join(hosts)} needs the host's own root" if hosts else "this needs root"
        chosen = hosts or environment.variable(SWITCH)
        lacks = "" if chosen else f"; there is no user namespace either: {why_no_namespace()}"
        mend = "" if chosen else "let this user make user namespaces (docs/rootless.md), or "
        raise UserError(
            f"{what}, and `sudo -n` was refused: {' '.join(said)}{lacks}",
            hint=f"{mend}run as root, or run `sudo -v` first, or allow this user to use sudo without a password",
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
    for before in (_NAMESPACE, as_root(hosts=True)):  # files of subordinate ids, and root's
        if folder.exists():
            subprocess.run([*before, *command], env=outside(), capture_output=True, stdin=subprocess.DEVNULL)
    if folder.exists():
        raise CCImagesError(
            f"cannot remove {folder}: it has files of other users",
            hint=f"remove it as root: sudo rm -rf {shlex.quote(str(folder))}",
            reason=Reason.NO_ROOT,
        )


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
