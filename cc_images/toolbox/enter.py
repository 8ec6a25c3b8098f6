"""The way into a sandbox: run as root with a JSON specification, in two processes.

The *guard* stays outside. It makes a PID namespace, waits for the sandbox's first process, kills it when its own
standard input closes (which is how it learns that cc-images is gone, through sudo too), and removes the scratch
folder once the namespace is dead. The *inside* process is PID 1 of the sandbox: it makes private mounts in which the
host is read-only, /dev holds a few nodes and /tmp is empty, runs the command, and reaps what the command leaves.

Exit code: the command's, 128 + signal when it was killed, 125 when the sandbox could not be made.
Runs as a script on Python >= 3.9 with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.toolbox import interpreters
else:
    sys.path.insert(0, str(Path(__file__).parent))
    import interpreters

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x04000000, 0x08000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
SYS_MOUNT_SETATTR = 442  # the same number on every architecture
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8

FAILED_TO_ENTER = 125
NODES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "loop-control", "btrfs-control")
EMPTIED = ("/tmp", "/var/tmp", "/run/lock", "/run/mount", "/run/blkid")
"""Private and empty in the sandbox, on the scratch folder. So TMPDIR=/tmp holds here and in every chroot below."""

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError with the C library's errno when a call has failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a file system, as the system call of this name does."""
    arguments = (source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None)
    check(libc.mount(arguments[0], arguments[1], arguments[2], ctypes.c_ulong(flags), arguments[4]), f"mount {target}")


def read_only(path: str) -> None:
    """Make the mount at `path` and all mounts below it read-only (mount_setattr(2), Linux >= 5.12)."""
    set_attributes(path, AT_RECURSIVE, wanted=MOUNT_ATTR_RDONLY)


def fit_for_roots(path: str) -> None:
    """Make the mount at `path` one in which a root tree can be built: writable, with device nodes and set-uid files."""
    set_attributes(path, 0, unwanted=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)


def set_attributes(path: str, flags: int, wanted: int = 0, unwanted: int = 0) -> None:
    """Change one mount's attributes, or with AT_RECURSIVE those of all below too; see mount_setattr(2)."""
    attributes = struct.pack("=4Q", wanted, unwanted, 0, 0)
    result = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, attributes, len(attributes))
    check(result, f"mount_setattr {path}")


def make_view(spec: dict[str, Any]) -> None:
    """Give this mount namespace its view: the host read-only, the workspace writable, /dev and /tmp private."""
    workspace, scratch = spec["workspace"], spec["scratch"]
    # Kept by descriptor, because some of these folders may lie below a /tmp that is about to be covered.
    kept = {path: os.open(path, os.O_PATH) for path in [*spec["visible"], workspace]}
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    read_only("/")
    bind(kept[workspace], workspace)
    fit_for_roots(workspace)
    if spec["tmpfs_mib"]:
        mount("tmpfs", scratch, "tmpfs", 0, f"mode=0755,size={spec['tmpfs_mib']}m")
    kept[workspace] = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
    for folder in EMPTIED:
        if os.path.isdir(folder) and not os.path.islink(folder):
            own = scratch + folder
            os.makedirs(own)
            os.chmod(own, 0o1777)
            mount(own, folder, flags=MS_BIND)
            for path, descriptor in kept.items():
                if path.startswith(f"{folder}/"):
                    bind(descriptor, path)
    make_dev()
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for knobs in ("/proc/sys", "/proc/irq", "/proc/bus"):  # dib's chroots mount a /proc of their own, though
        if os.path.isdir(knobs):
            mount(knobs, knobs, flags=MS_BIND)
            read_only(knobs)
    socket.sethostname("localhost")


def bind(descriptor: int, path: str) -> None:
    """Show the file or tree that `descriptor` stands for at `path`, making a place for it where there is none."""
    if not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    mount(f"/proc/self/fd/{descriptor}", path, flags=MS_BIND | MS_REC)


def make_dev() -> None:
    """Cover /dev with a private one: dib binds /dev into the image's tree, and its clean-up may delete through that."""
    host = {name: os.stat(f"/dev/{name}") for name in NODES if os.path.exists(f"/dev/{name}")}
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=0755")
    os.umask(0)
    for name, node in host.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, node.st_rdev)
    for folder in ("pts", "shm", "mapper"):
        os.mkdir(f"/dev/{folder}", 0o755)
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    os.symlink("pts/ptmx", "/dev/ptmx")
    os.symlink("/proc/self/fd", "/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"fd/{number}", f"/dev/{name}")
    os.umask(0o022)


def inside(spec: dict[str, Any]) -> int:
    """Be PID 1: make the view, run the command, reap, hand its output to the user who asked."""
    namespace: int | None = spec["namespace"]
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS), "unshare")
    make_view(spec)
    for folder in spec["folders"]:
        os.makedirs(folder, exist_ok=True)
    show_cache(spec["cache"], spec["cache_seed"], spec["scratch"])
    if namespace is not None:
        place = spec["scratch"] + "/interpreters"
        bind(namespace, place)
        spec["env"]["CC_IMAGES_INTERPRETERS"] = place
    # git in dib's cache, whose files belong to the user who runs cc-images; its helpers do not read the environment
    Path(spec["env"]["HOME"], ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        os.chdir(spec["scratch"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    if status == 0:
        try:
            note_cache(spec["cache"], spec["cache_seed"], spec["out"])
        except OSError as error:  # what was made is worth more than what was downloaded for it
            print(f"sandbox: downloads are not kept: {error}", flush=True)
            Path(spec["out"], "cache.json").unlink(missing_ok=True)
    hand_over(Path(spec["out"]), *spec["owner"])
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def show_cache(cache: str, seed: str, scratch: str) -> None:
    """Show in the build's own cache what earlier builds have downloaded: by an overlay, else by a copy."""
    if not seed:
        return
    upper, work = scratch + "/cache-upper", scratch + "/cache-work"
    for folder in (upper, work):
        os.makedirs(folder)
    try:
        if "," in seed or ":" in seed:  # they separate mount options
            raise OSError
        mount("overlay", cache, "overlay", 0, f"lowerdir={seed},upperdir={upper},workdir={work}")
    except OSError:  # no overlayfs, or the scratch folder lies on one
        shutil.copytree(seed, cache, symlinks=True, dirs_exist_ok=True)


def note_cache(cache: str, seed: str, out: str) -> None:
    """Leave in `out` what the build has downloaded: new files, and the list of those that were there before."""
    kept, new, empty = [], [], []
    for root, folders, files in os.walk(cache):
        packages = os.path.relpath(root, cache).partition("/")[0] in ("apt", "yum")
        if packages:
            folders[:] = [name for name in folders if name != "partial"]
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        if not (folders or files) and root != cache:
            empty.append(os.path.relpath(root, cache))  # a git repository is none without them
        for name in [*files, *links]:
            path = os.path.join(root, name)
            relative = os.path.relpath(path, cache)
            status = os.lstat(path)
            if (packages and name == "lock") or not (stat.S_ISREG(status.st_mode) or os.path.islink(path)):
                continue
            before = seed and os.path.join(seed, relative)
            if before and os.path.lexists(before) and like(status) == like(os.lstat(before)):
                kept.append(relative)
                continue
            new.append(relative)
            target = os.path.join(out, "cache", relative)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(path, target, follow_symlinks=False)
    found = {"kept": sorted(kept), "new": sorted(new), "empty": sorted(empty)}
    Path(out, "cache.json").write_text(json.dumps(found))


def like(status: os.stat_result) -> tuple[int, int, int]:
    """Return by what a file is taken for unchanged."""
    return stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns


def hand_over(folder: Path, uid: int, gid: int) -> None:
    """Give all below `folder` to the user who asked for the build."""
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            os.chown(os.path.join(root, name), uid, gid, follow_symlinks=False)


def guard(spec: dict[str, Any]) -> int:
    """Run `inside` as PID 1 of a new PID namespace and outlive it; kill it when standard input closes."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # only the closing of standard input ends a sandbox
    fcntl.flock(os.open(spec["guards"], os.O_RDWR | os.O_CREAT, 0o666), fcntl.LOCK_SH)  # until this process ends
    spec["namespace"], release = register(spec["interpreter"])
    check(libc.unshare(CLONE_NEWPID), "unshare")
    first = os.fork()
    if first == 0:
        os._exit(guarded(inside, spec))
    ended, stopped = os.pidfd_open(first), False
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    while not stopped:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if ended in ready:
            break
        stopped = not os.read(0, 4096)
    if stopped:
        os.kill(first, signal.SIGKILL)
    _, status = os.waitpid(first, 0)  # returns when every process of the namespace is gone
    release()
    shutil.rmtree(spec["scratch"], ignore_errors=True)  # its mounts were private and died with the namespace
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def register(wanted: dict[str, Any] | None) -> tuple[int | None, Callable[[], None]]:
    """Register the interpreter of another architecture's programs, if any is wanted.

    Return a descriptor of the user namespace that knows it, or None where all do, and what takes it away.
    """
    if wanted is None:
        return None, lambda: None
    told = wanted["magic"], wanted["mask"], interpreters.executable(wanted["path"])
    namespace = interpreters.private(interpreters.entry(wanted["name"], *told)) if wanted["private"] else None
    if namespace is not None:
        return namespace, lambda: None
    name = interpreters.own(wanted["name"])
    return None, interpreters.shared(name, interpreters.entry(name, *told))


def guarded(step: Any, spec: dict[str, Any]) -> int:
    """Run a step; turn a refusal of the kernel into one line and the exit code of a sandbox that was not made."""
    try:
        return int(step(spec))
    except OSError as error:
        print(f"sandbox: {error}", file=sys.stderr, flush=True)
        return FAILED_TO_ENTER


if __name__ == "__main__":
    sys.exit(guarded(guard, json.loads(Path(sys.argv[1]).read_text())))
