"""The way into a sandbox: run as root with a JSON specification, in two processes.

The *guard* stays outside. It makes a PID namespace, waits for the sandbox's first process, kills it when its own
standard input closes (which is how it learns that cc-images is gone, through sudo too), and removes the scratch
folder once the namespace is dead. The *inside* process is PID 1 of the sandbox: it makes the view (see `view`), runs
the command with fewer powers than root has (`powers`, `devices`), and ends all that the command has left running
before anybody looks at results.

Exit code: the command's, 128 + signal when it was killed, 125 when the sandbox could not be made. Runs as a script on
Python >= 3.9 with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.toolbox import devices, downloads, interpreters, kernel, networks, peaks, powers, view
else:
    sys.path.insert(0, str(Path(__file__).parent))
    import devices
    import downloads
    import interpreters
    import kernel
    import networks
    import peaks
    import powers
    import view

FAILED_TO_ENTER = 125


def inside(spec: dict[str, Any]) -> int:
    """Be PID 1: make the view, run the command, reap, hand its output to the user who asked."""
    namespace: int | None = spec["namespace"]
    scratch, out = spec["inside"] + "/scratch", spec["inside"] + "/out"
    kernel.end_with_parent()
    kernel.forget_keys()
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS)
    connect(spec["network"], spec["line"])
    view.make(spec)
    for folder in spec["folders"]:
        os.makedirs(folder, exist_ok=True)
    downloads.show(spec["cache"], spec["seeds"], scratch)
    if namespace is not None:
        place = scratch + "/interpreters"
        kernel.bind(namespace, place)
        spec["env"]["CC_IMAGES_INTERPRETERS"] = place
    # git in dib's cache, whose files belong to the user who runs cc-images; its helpers do not read the environment
    Path(spec["env"]["HOME"], ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        os.chdir(scratch)
        powers.give_up(spec["keeps"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    seen = peaks.Peaks(scratch)
    seen.watch()
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    end_all()
    seen.leave(Path(out, "peaks.json"))
    if status == 0:
        try:
            downloads.note(spec["cache"], spec["seeds"], out)
        except OSError as error:  # what was made is worth more than what was downloaded for it
            print(f"sandbox: downloads are not kept: {error}", flush=True)
            Path(out, "cache.json").unlink(missing_ok=True)
    hand_over(Path(out), *spec["owner"])
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def connect(network: str, line: socket.socket) -> None:
    """Go into the network that is wanted, and wait until the guard has given it a way out."""
    if network != "host":
        networks.enter()
    if network == "private":
        line.send(b"?")
        if line.recv(1) != b"!":
            raise OSError(0, "there is no way out of the sandbox's network")


def end_all() -> None:
    """End every process that the command has left in this PID namespace, whose first one this is."""
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.wait()
    except (ChildProcessError, ProcessLookupError):
        return


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
    group = devices.Group()
    outlet = (
        networks.Outlet(spec["outlet"], spec["workspace"] + "/outlet.log") if spec["network"] == "private" else None
    )
    line, spec["line"] = socket.socketpair()
    kernel.unshare(kernel.CLONE_NEWPID)
    first = os.fork()
    if first == 0:
        line.close()
        os._exit(guarded(inside, spec))
    spec["line"].close()
    if outlet is not None and line.recv(1):
        try:
            outlet.open(first)
            line.send(b"!")
        except OSError as error:
            print(f"sandbox: {error.strerror}", file=sys.stderr, flush=True)
    line.close()
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
    if outlet is not None:
        outlet.close()
    group.leave()
    shutil.rmtree(
        spec["workspace"] + "/scratch", ignore_errors=True
    )  # its mounts were private and died with the namespace
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
    order = Path(sys.argv[1])
    content = order.read_text()
    order.unlink()  # it may have secrets, and whoever wrote it may be killed
    sys.exit(guarded(guard, json.loads(content)))
