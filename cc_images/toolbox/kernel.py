"""What Linux can do and Python's library has no name for: namespaces and mounts, by the C library.

The standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import struct

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MS_RDONLY, MS_REMOUNT, MS_MOVE, MNT_DETACH = 1, 32, 8192, 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
PR_SET_PDEATHSIG = 1
SYS_KEYCTL = {"x86_64": 250, "aarch64": 219}
KEYCTL_JOIN_SESSION_KEYRING = 1
SYS_MOUNT_SETATTR = 442  # the same number on every architecture
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError with the C library's errno when a call has failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Go into new namespaces of these kinds."""
    check(libc.unshare(flags), "unshare")


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends."""
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a file system, as the system call of this name does."""
    arguments = (source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None)
    check(libc.mount(arguments[0], arguments[1], arguments[2], ctypes.c_ulong(flags), arguments[4]), f"mount {target}")


def unmount(path: str) -> None:
    """Take a mount, and what is mounted below it, out of the view."""
    check(libc.umount2(path.encode(), MNT_DETACH), f"umount {path}")


def change_root(new: str) -> None:
    """Make the mount at `new` the root, read-only, and let go of the old one; see pivot_root(2).

    The very first root of a system cannot be left so: there the new one is moved above it.
    """
    os.mkdir(f"{new}/.old")
    if libc.syscall(SYS_PIVOT_ROOT[os.uname().machine], new.encode(), f"{new}/.old".encode()) == 0:
        os.chdir("/")
        unmount("/.old")
    else:
        os.chdir(new)
        mount(new, "/", flags=MS_MOVE)
        os.chroot(".")
        os.chdir("/")
    os.rmdir("/.old")
    mount("none", "/", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def forget_keys() -> None:
    """Leave the keys of the user's session (keyrings(7)): have a session keyring of this process's own, empty."""
    if (number := SYS_KEYCTL.get(os.uname().machine)) is not None:
        libc.syscall(number, KEYCTL_JOIN_SESSION_KEYRING, None)  # ENOSYS: a kernel without keys


def keep_mounts_private() -> None:
    """Let no mount of this namespace be seen in another, nor the other way round."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def read_only(path: str) -> None:
    """Make the mount at `path` and all mounts below it read-only (mount_setattr(2), Linux >= 5.12)."""
    set_attributes(path, AT_RECURSIVE, wanted=MOUNT_ATTR_RDONLY)


def fit_for_roots(path: str) -> None:
    """Make the mount at `path` one in which a root tree can be built: writable, with device nodes and set-uid files."""
    wanted = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC
    try:
        set_attributes(path, 0, unwanted=wanted | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    except PermissionError:  # in a user namespace they may be locked, and root in it does without
        set_attributes(path, 0, unwanted=wanted)


def set_attributes(path: str, flags: int, wanted: int = 0, unwanted: int = 0) -> None:
    """Change one mount's attributes, or with AT_RECURSIVE those of all below too; see mount_setattr(2)."""
    attributes = struct.pack("=4Q", wanted, unwanted, 0, 0)
    result = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, attributes, len(attributes))
    check(result, f"mount_setattr {path}")


def bind(descriptor: int, path: str) -> None:
    """Show the file or tree that `descriptor` stands for at `path`, making a place for it where there is none."""
    if not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    mount(f"/proc/self/fd/{descriptor}", path, flags=MS_BIND | MS_REC)
