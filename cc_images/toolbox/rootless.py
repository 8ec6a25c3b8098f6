"""Root without being root: run a command as user 0 of a user namespace, with subordinate ids for all other users.

    rootless.py COMMAND…    take its place: same process, so signals, standard input and exit code are the command's
    rootless.py --try       make what a sandbox needs, and say what the kernel refuses

An ordinary user's further ids are those that /etc/subuid and /etc/subgid name (subuid(5)), mapped by newuidmap and
newgidmap; whoever may map ids without help, such as root in a container without other rights, maps all to themselves.

Exit code: the command's, or 125 when there is no such namespace. Runs as a script on Python >= 3.9 with the standard
library only; knows nothing of cc_images.
"""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from cc_images.toolbox import kernel
else:  # a script
    sys.path.insert(0, str(Path(__file__).parent))
    import kernel

FAILED_TO_ENTER = 125
ENOUGH = 65536
"""How many subordinate ids images take: `nobody` is 65534."""


LACKS = 2
MISSING = "newuidmap and newgidmap are missing (package uidmap)"
REFUSED = "the kernel, or newuidmap, does not let this user map its subordinate ids"


def enter() -> None:
    """Become root of a new user namespace. Raises OSError with what is missing."""
    helper, done = _mapper(*_maps())
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
    except OSError as error:
        allowed = "this host allows no more user namespaces (user.max_user_namespaces)"
        raise OSError(0, allowed if error.errno == errno.ENOSPC else f"user namespaces are refused: {error}") from error
    os.write(done, b"u")
    os.close(done)
    _, status = os.waitpid(helper, 0)
    if status:
        raise OSError(0, MISSING if os.waitstatus_to_exitcode(status) == LACKS else REFUSED)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _maps() -> tuple[str, str]:
    """Return what the maps of users and groups shall hold, a line each for all ids of one run."""
    if os.geteuid() == 0:
        return identity("uid_map"), identity("gid_map")
    return (
        f"0 {os.getuid()} 1\n1 {subordinate('/etc/subuid')} {ENOUGH}",
        f"0 {os.getgid()} 1\n1 {subordinate('/etc/subgid')} {ENOUGH}",
    )


def identity(kind: str) -> str:
    """Return the map of all ids that this process knows to themselves."""
    lines = (line.split() for line in Path("/proc/self", kind).read_text().splitlines())
    return "\n".join(f"{inside} {inside} {count}" for inside, _, count in lines)


def subordinate(file: str) -> int:
    """Return the first of this user's subordinate ids. Raises OSError when there are too few of them."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError as error:
        raise OSError(0, f"user {os.getuid()} has no name, which newuidmap wants") from error
    for line in Path(file).read_text().splitlines() if os.path.exists(file) else []:
        owner, first, count = [*line.split(":"), "0", "0"][:3]
        if owner in (name, str(os.getuid())) and first.isdigit() and count.isdigit() and int(count) >= ENOUGH:
            return int(first)
    raise OSError(0, f"{name} has no {ENOUGH} subordinate ids in one line of {file}")


def _mapper(users: str, groups: str) -> tuple[int, int]:
    """Start a process that maps the ids of this one when told so; return it, and the descriptor to tell it by."""
    asked, tell = os.pipe()
    process = os.getpid()
    helper = os.fork()
    if helper:
        os.close(asked)
        return helper, tell
    os.close(tell)
    code = 1
    try:
        if os.read(asked, 1) == b"u":
            for kind, program, wanted in (("uid_map", "newuidmap", users), ("gid_map", "newgidmap", groups)):
                if os.geteuid() == 0:
                    Path(f"/proc/{process}/{kind}").write_text(wanted + "\n")
                else:
                    subprocess.run([program, str(process), *wanted.split()], check=True, stdin=subprocess.DEVNULL)
            code = 0
    except FileNotFoundError:
        code = LACKS
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"sandbox: {error}", file=sys.stderr, flush=True)
    os._exit(code)


def attempt() -> None:
    """Make what sandboxes are made of. Raises OSError for what the kernel refuses."""
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            kernel.keep_mounts_private()
            kernel.mount("tmpfs", "/tmp", "tmpfs")
            for folder in ("proc", "pts"):
                os.mkdir(f"/tmp/{folder}")
            kernel.mount("proc", "/tmp/proc", "proc")
            kernel.mount("devpts", "/tmp/pts", "devpts", data="newinstance")
            code = 0
        except OSError as error:
            print(f"sandbox: {error}", file=sys.stderr, flush=True)
        os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise OSError(0, "the kernel does not let this user mount file systems in a namespace")


def main(words: list[str]) -> None:
    """Run as the module's description says."""
    try:
        enter()
        if words == ["--try"]:
            attempt()
            return
    except OSError as error:
        print(f"sandbox: {error.strerror or error}", file=sys.stderr, flush=True)
        sys.exit(FAILED_TO_ENTER)
    os.execvp(words[0], words)


if __name__ == "__main__":
    main(sys.argv[1:])
