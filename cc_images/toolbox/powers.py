"""What root in a sandbox may not do: capabilities that are taken away, and calls of the kernel that are refused.

Builds mount, make device nodes and change owners, so they keep the capabilities for that; what is left of them is
bounded by the sandbox's view and its devices. Numbers: linux/capability.h, the kernel's tables of system calls,
linux/seccomp.h, linux/audit.h. The standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cc_images.toolbox.kernel import check, libc
else:
    from kernel import check, libc

CAPABILITIES = {
    "DAC_READ_SEARCH": 2,  # files by handle, past every view
    "NET_ADMIN": 12,
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_PTRACE": 19,
    "SYS_PACCT": 20,
    "SYS_BOOT": 22,
    "SYS_TIME": 25,
    "AUDIT_CONTROL": 30,
    "MAC_OVERRIDE": 32,
    "MAC_ADMIN": 33,
    "SYSLOG": 34,
    "WAKE_ALARM": 35,
    "AUDIT_READ": 37,
    "PERFMON": 38,
    "BPF": 39,
}
READS_ALL = "DAC_READ_SEARCH"
"""What a look into an image keeps: it drops all else itself."""

PR_CAPBSET_DROP, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 24, 22, 2
MS_RDONLY, MS_REMOUNT = 1, 32
ALLOW, REFUSE = 0x7FFF0000, 0x00050000

NEW_MOUNTS = (428, 429, 430, 431, 432, 433, 442, 467)
"""open_tree to open_tree_attr, on every architecture: no flags of theirs can be filtered; mount(8) does without."""

# what is refused, and the number of mount; by audit architecture
CALLS: dict[str, dict[int, tuple[tuple[int, ...], int]]] = {
    "x86_64": {
        0xC000003E: (
            (175, 176, 313, 246, 320, 304, 169, 167, 168, 163, 164, 227, 159, 305, 172, 173, 321, 298, 248, 249, 250),
            165,
        ),
        0x40000003: (
            (128, 129, 350, 283, 342, 88, 87, 115, 51, 79, 25, 264, 404, 124, 343, 110, 101, 357, 336, 286, 287, 288),
            21,
        ),
    },
    "aarch64": {
        0xC00000B7: (
            (105, 106, 273, 104, 294, 265, 142, 224, 225, 89, 170, 112, 171, 266, 280, 241, 217, 218, 219),
            40,
        ),
        0x40000028: ((128, 129, 379, 347, 371, 88, 87, 115, 51, 79, 262, 404, 124, 372, 386, 364, 309, 310, 311), 21),
    },
}
"""Modules, kexec, files by handle, reboot, swap, accounting, the clock, ports, bpf, perf_event_open, and keys."""

X32 = 0x40000000


def give_up(keep: str = "") -> None:
    """Let no program that is started from now on have these powers; `keep` names a capability that stays."""
    for name, number in CAPABILITIES.items():
        if name != keep:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)  # EINVAL: an older kernel has no such capability
    if (calls := CALLS.get(os.uname().machine)) is not None:
        install(program(calls))


def program(calls: dict[int, tuple[tuple[int, ...], int]]) -> bytes:
    """Return the filter: a classic BPF program over `struct seccomp_data`."""
    load, equal, less, masked, back = 0x20, 0x15, 0x35, 0x54, 0x06
    number, architecture, flags = 0, 4, 40  # offsets; the flags of mount are its fourth argument

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    def refused(why: int) -> bytes:
        return step(back, REFUSE | why)

    parts = b""
    for audit, (forbidden, mount) in calls.items():
        body = step(load, number)
        body += step(less, X32, 0, 1) + refused(errno.ENOSYS)
        for each in forbidden:
            body += step(equal, each, 0, 1) + refused(errno.EPERM)
        for each in NEW_MOUNTS:
            body += step(equal, each, 0, 1) + refused(errno.ENOSYS)
        body += step(equal, mount, 1, 0) + step(back, ALLOW)
        body += step(load, flags) + step(masked, MS_REMOUNT | MS_RDONLY)
        body += step(equal, MS_REMOUNT, 0, 1) + refused(errno.EPERM) + step(back, ALLOW)
        length = len(body) // 8
        parts += step(load, architecture) + step(equal, audit, 1, 0) + step(0x05, length) + body
    return parts + step(back, ALLOW)


def install(filtered: bytes) -> None:
    """Put a filter in force for this process and all that it starts."""
    code = ctypes.create_string_buffer(filtered)
    given = struct.pack("@HP", len(filtered) // 8, ctypes.addressof(code))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, given, 0, 0), "seccomp")
