"""The way into a sandbox: run as root with a JSON specification, in two processes.

The *guard* stays outside. It makes a PID namespace, waits for the sandbox's first process, kills it when its own
standard input closes (which is how it learns that cc-images is gone, through sudo too), and removes the scratch
folder once the namespace is dead. The *inside* process is PID 1 of the sandbox: it makes private mounts in which the
host is read-only, /dev holds a few nodes and /tmp is empty, runs the command, and reaps what the command leaves.

Exit code: the command's, 128 + signal when it was killed, 125 when the sandbox could not be made.
Runs as a script on Python >= 3.9 with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.toolbox import downloads, interpreters, kernel, peaks
    from cc_images.toolbox.kernel import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, bind, mount
else:
    sys.path.insert(0, str(Path(__file__).parent))
    import downloads
    import interpreters
    import kernel
    import peaks
    from kernel import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, bind, mount

FAILED_TO_ENTER = 125
NODES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "loop-control", "btrfs-control")
EMPTIED = ("/tmp", "/var/tmp", "/run/lock", "/run/mount", "/run/blkid")
"""Private and empty in the sandbox, on the scratch folder. So TMPDIR=/tmp holds here and in every chroot below."""


def make_view(spec: dict[str, Any]) -> None:
    """Give this mount namespace its view: the host read-only, the workspace writable, /dev and /tmp private."""
    workspace, scratch = spec["workspace"], spec["scratch"]
    # Kept by descriptor, because some of these folders may lie below a /tmp that is about to be covered.
    kept = {path: os.open(path, os.O_PATH) for path in [*spec["visible"], workspace]}
    kernel.keep_mounts_private()
    kernel.read_only("/")
    bind(kept[workspace], workspace)
    kernel.fit_for_roots(workspace)
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
            kernel.read_only(knobs)
    socket.sethostname("localhost")


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
    kernel.end_with_parent()
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS)
    make_view(spec)
    for folder in spec["folders"]:
        os.makedirs(folder, exist_ok=True)
    downloads.show(spec["cache"], spec["cache_seed"], spec["scratch"])
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
    seen = peaks.Peaks(spec["scratch"])
    seen.watch()
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    seen.leave(Path(spec["out"], "peaks.json"))
    if status == 0:
        try:
            downloads.note(spec["cache"], spec["cache_seed"], spec["out"])
        except OSError as error:  # what was made is worth more than what was downloaded for it
            print(f"sandbox: downloads are not kept: {error}", flush=True)
            Path(spec["out"], "cache.json").unlink(missing_ok=True)
    hand_over(Path(spec["out"]), *spec["owner"])
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


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
    kernel.unshare(kernel.CLONE_NEWPID)
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
