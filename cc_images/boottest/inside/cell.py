"""The cell of a container: namespaces, a root of its own, and the account and powers of its first process.

A *holder* lives in the mount namespace of the cell, whose root it makes its own, and starts its processes: the first
one is PID 1 of the cell's PID namespace, so all of them end with it. The tree itself is never changed: writes go to an
overlay, or to a copy where there is no overlayfs.

Runs beside `container.py` with the standard library and the toolbox's `kernel` only; knows nothing of cc_images.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.toolbox import kernel
else:  # a script has no package; the toolbox is beside it only in a checkout
    sys.path.insert(0, os.environ.get("CC_IMAGES_TOOLBOX", str(Path(__file__).parents[2] / "toolbox")))
    import kernel

Facts = dict[str, Any]

NODES = ("null", "zero", "full", "random", "urandom", "tty")
CLOSED = tuple(f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"))
HIDDEN = tuple(f"/proc/{name}" for name in ("kcore", "keys", "timer_list", "sched_debug"))
"""Parts of /proc that are the host's, in every namespace: root of a container could change or read them."""
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
TOPS = ("dev", "proc", "sys", "tmp", "run")

KEPT = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29, 31})
"""Capabilities that container engines leave to root: chown to setuid, setpcap, net_bind_service, net_raw, sys_chroot,
audit_write, setfcap; linux/capability.h. Not mknod, by which a device of the host could be opened."""
LAST_CAPABILITY = 63
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that sandboxes, and Python, ignore: a program inherits that, and a shell could trap none of them."""
PR_CAPBSET_DROP = 24

ROOTLESS = bool(os.environ.get("CC_IMAGES_ROOTLESS"))
NO_EXEC = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


def enter(tree: str, folder: str, volumes: list[str], read_only: bool) -> None:
    """Go into a new cell over a tree: this process becomes its holder. Raises OSError.

    `volumes` are folders at which something else is mounted: empty, and, as new volumes are, of the folder's owner.
    """
    kernel.end_with_parent()
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWPID)
    kernel.keep_mounts_private()
    root = _root(tree, folder)
    for top in TOPS:
        place = f"{root}/{top}"
        if os.path.islink(place) or not os.path.isdir(place):
            with suppress(FileNotFoundError):
                os.unlink(place)
            os.mkdir(place, 0o755)
    _mounts(root, read_only)
    names = _names()
    _change(root)
    for each in (sys.path, sys.meta_path, sys.path_hooks):  # nothing is loaded from the tree
        each.clear()
    for path, text in names.items():
        with suppress(OSError):
            os.makedirs("/etc", exist_ok=True)
            with suppress(FileNotFoundError):
                os.unlink(path)
            Path(path).write_text(text)
    for place in volumes:
        os.makedirs(place, exist_ok=True)
        status = os.stat(place)
        owner = f"mode={status.st_mode & 0o7777:o},uid={status.st_uid},gid={status.st_gid}"
        kernel.mount("tmpfs", place, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, owner)
    if read_only:
        kernel.mount("none", "/", flags=kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY)


def _root(tree: str, folder: str) -> str:
    """Return a mount with the tree that may be written to."""
    root, upper, work = (f"{folder}/{each}" for each in ("root", "upper", "work"))
    for each in (root, upper, work):
        os.makedirs(each)
    own = ",userxattr" if ROOTLESS else ""
    shutil.copymode(tree, upper)
    status = os.stat(tree)
    os.chown(upper, status.st_uid, status.st_gid)
    try:
        kernel.mount("overlay", root, "overlay", 0, f"lowerdir={tree},upperdir={upper},workdir={work}{own}")
    except OSError:  # no overlayfs, or the scratch folder lies on one
        subprocess.run(["cp", "-a", "--reflink=auto", f"{tree}/.", root], check=True)
        kernel.mount(root, root, flags=kernel.MS_BIND)
    return root


def _mounts(root: str, read_only: bool) -> None:
    dev = f"{root}/dev"
    kernel.mount("tmpfs", dev, "tmpfs", kernel.MS_NOSUID, "mode=0755,size=1m")
    for name in NODES:
        kernel.bind(os.open(f"/dev/{name}", os.O_PATH), f"{dev}/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{dev}/{name}", 0o755)
    with suppress(OSError):
        kernel.mount("devpts", f"{dev}/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC,
                     "newinstance,ptmxmode=0666,mode=0620,gid=5")  # fmt: skip
    kernel.mount("tmpfs", f"{dev}/shm", "tmpfs", NO_EXEC, "mode=1777")
    for name, target in LINKS.items():
        os.symlink(target, f"{dev}/{name}")
    for place, mode in (("tmp", "1777"), ("run", "0755")):
        if not os.listdir(f"{root}/{place}") or (read_only and place == "tmp"):  # images prepare /run for their daemons
            kernel.mount("tmpfs", f"{root}/{place}", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"mode={mode}")
    kernel.bind(os.open("/sys", os.O_PATH), f"{root}/sys")
    if ROOTLESS:  # the kernel may refuse the cell one of its own, since a part of the sandbox's is covered
        kernel.bind(os.open("/proc", os.O_PATH), f"{root}/proc")


def _names() -> dict[str, str]:
    """Return what an engine writes about names: this cell's, and the resolver of its network."""
    resolver = ""
    with suppress(OSError):
        resolver = Path("/etc/resolv.conf").read_text()
    hosts = "127.0.0.1\tlocalhost container\n::1\tlocalhost\n"
    return {"/etc/hosts": hosts, "/etc/hostname": "container\n", "/etc/resolv.conf": resolver}


def _change(root: str) -> None:
    """Make the mount at `root` the root, and let go of the old one; see pivot_root(2)."""
    os.chdir(root)
    number = kernel.SYS_PIVOT_ROOT[os.uname().machine]
    if kernel.libc.syscall(number, b".", b".") == 0:
        kernel.unmount(".")
    else:
        kernel.mount(root, "/", flags=kernel.MS_MOVE)
        os.chroot(".")
    os.chdir("/")


def proc() -> None:
    """Give the cell a /proc, as its first process; it has the sandbox's where the kernel refuses one of its own."""
    try:
        kernel.mount("proc", "/proc", "proc", NO_EXEC)
    except OSError:
        if not ROOTLESS:
            raise
    kept = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | NO_EXEC
    for each in filter(os.path.exists, CLOSED):
        with suppress(*([OSError] if ROOTLESS else [])):
            kernel.mount(each, each, flags=kernel.MS_BIND | kernel.MS_REC)
            kernel.mount("none", each, flags=kept)
    for each in filter(os.path.isfile, HIDDEN):
        with suppress(*([OSError] if ROOTLESS else [])):
            kernel.mount("/dev/null", each, flags=kernel.MS_BIND)


def become(argv: list[str], user: Facts, folder: str, environment: dict[str, str]) -> None:
    """Become a program of the container. Raises OSError for one that does not start."""
    os.setsid()
    if not os.path.isdir(folder):
        os.makedirs(folder, exist_ok=True)
    for each in range(LAST_CAPABILITY + 1):
        if each not in KEPT:
            kernel.libc.prctl(PR_CAPBSET_DROP, each, 0, 0, 0)
    for number in IGNORED:
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    os.setgroups(user["groups"])
    os.setresgid(user["gid"], user["gid"], user["gid"])
    os.setresuid(user["uid"], user["uid"], user["uid"])
    kernel.end_with_parent()
    os.chdir(folder)
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        raise OSError(error.errno, f"{argv[0]} does not start: {error.strerror}") from error
