"""What runs programs of another architecture in a sandbox, registered with binfmt_misc and taken away again.

Two ways, the first where the kernel can (Linux >= 6.7):

private   A user namespace has a binfmt_misc of its own. A keeper makes such a namespace, in which every user is who
          they are outside, and registers the interpreter there. Only what is started below a chroot joins it (see
          `chroot` and `apt-get` beside this file): dib itself has to mount, which is root's outside. The host's own
          binfmt_misc is not touched, and when the keeper ends all is gone.
shared    Else the interpreter is registered for the whole host. Sandboxes with the same one share the entry; each has
          a keeper that holds a shared lock as long as its sandbox lives, and the last one takes the entry away. The
          entry is in front of the host's own, which comes back into effect untouched. A keeper outlives its guard,
          and the guard takes away what a killed keeper has left; what both have left, the next sandbox does.

The standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from cc_images.toolbox import kernel, rootless
else:  # a script, or beside one
    sys.path.insert(0, str(Path(__file__).parent))
    import kernel
    import rootless

REGISTRY = Path("/proc/sys/fs/binfmt_misc")
USERS = Path("/run/cc-images")
"""A file for each shared entry, locked by those who use it."""
PREFIX = "cc-images-"


def close(*descriptors: int) -> None:
    """Close files."""
    for each in descriptors:
        os.close(each)


def entry(name: str, magic: str, mask: str, interpreter: str) -> bytes:
    """Return what binfmt_misc is told: flags P (argv[0] is kept) and F (works in every root); digits in hexadecimal."""
    escaped = ["".join(f"\\x{byte:02x}" for byte in bytes.fromhex(digits)) for digits in (magic, mask)]
    mark = next(each for each in ":|;~\t" if each not in interpreter)  # the first character separates the fields
    return mark.join(("", name, "M", "", *escaped, interpreter, "PF")).encode()


def executable(interpreter: str) -> str:
    """Return a path at which the kernel may execute a file: a copy in memory where its file system forbids that."""
    if not os.statvfs(interpreter).f_flag & os.ST_NOEXEC:
        return interpreter
    copy = os.memfd_create("interpreter")
    os.write(copy, Path(interpreter).read_bytes())
    return f"/proc/self/fd/{copy}"


# -- private -----------------------------------------------------------------------------------------------------------


def private(what: bytes) -> int | None:
    """Return a descriptor of a user namespace that has the entry, or None where the kernel has no such thing.

    A child of this process keeps it, and ends with it.
    """
    ready, asked = os.pipe()
    answer, go = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        close(ready, go)
        with suppress(OSError):
            kernel.end_with_parent()
            os.setsid()
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(asked, b"u")
            os.read(answer, 1)  # until the identities are mapped
            attach()
            (REGISTRY / "register").write_bytes(what)
            os.write(asked, b"r")
            while True:
                signal.pause()
        os._exit(1)
    close(asked, answer)
    try:
        if os.read(ready, 1) == b"u":
            for identities in ("uid_map", "gid_map"):
                Path(f"/proc/{keeper}/{identities}").write_text(rootless.identity(identities) + "\n")
            os.write(go, b"g")
            if os.read(ready, 1) == b"r":
                return os.open(f"/proc/{keeper}/ns/user", os.O_RDONLY)
    except OSError:
        pass
    finally:
        close(ready, go)
    with suppress(ProcessLookupError):
        os.kill(keeper, signal.SIGKILL)
    os.waitpid(keeper, 0)
    return None


def attach() -> None:
    """Mount binfmt_misc in a mount namespace of this process's own."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.keep_mounts_private()
    kernel.mount("binfmt_misc", str(REGISTRY), "binfmt_misc")


# -- shared ------------------------------------------------------------------------------------------------------------


def shared(name: str, what: bytes) -> Callable[[], None]:
    """Register the entry for the host; return what takes it away. It goes, too, when this process and its children end.

    Makes a mount namespace for this process where the host has not mounted binfmt_misc. Raises OSError when the kernel
    refuses.
    """
    see_registry()
    sweep()
    done, told = os.pipe()
    alive, own_end = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        close(done, own_end)
        os.setsid()
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        code = 1
        try:
            with using(name, what):
                os.write(told, b"r")
                os.read(alive, 1)  # until the process that asked has ended
            code = 0
        except OSError as error:
            os.write(told, str(error).encode())
        finally:
            os._exit(code)
    close(told, alive)
    answer = os.read(done, 1000)
    os.close(done)
    if answer != b"r":
        raise OSError(f"binfmt_misc: {answer.decode() or 'the keeper of the entry was killed'}")

    def release() -> None:
        os.close(own_end)
        os.waitpid(keeper, 0)
        sweep()

    return release


def see_registry() -> None:
    """Have binfmt_misc mounted: for this process alone, if the host has not."""
    if not (REGISTRY / "register").exists():
        attach()


def own(name: str) -> str:
    """Return the name of an entry of this host's: containers share a kernel's registry, and not the locks."""
    return f"{name}-{whose()}"


def whose() -> str:
    """Return what tells this host's folder of locks from all others below the same kernel."""
    USERS.mkdir(mode=0o755, exist_ok=True)
    status = USERS.stat()
    return f"{status.st_dev:x}.{status.st_ino:x}"


@contextmanager
def using(name: str, what: bytes) -> Iterator[None]:
    """Have the entry registered while the context lasts, together with others who use it."""
    with alone():
        users = os.open(USERS / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not (REGISTRY / name).exists():
            (REGISTRY / "register").write_bytes(what)
    try:
        yield
    finally:
        with alone():
            os.close(users)
            take_away(name)


def sweep() -> list[str]:
    """Take away this host's entries that nobody uses any more, and return their names."""
    with alone():
        return [each.name for each in REGISTRY.glob(f"{PREFIX}*-{whose()}") if take_away(each.name)]


def take_away(name: str) -> bool:
    """Take an entry away unless somebody uses it. The caller is `alone`."""
    users = os.open(USERS / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        with suppress(FileNotFoundError):
            (REGISTRY / name).write_bytes(b"-1")
        (USERS / name).unlink(missing_ok=True)
        return True
    finally:
        os.close(users)


@contextmanager
def alone() -> Iterator[None]:
    """Keep others from looking at, or changing, who uses which entry."""
    whose()
    lock = os.open(USERS / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def left(registry: Path = REGISTRY, users: Path = USERS) -> list[str]:
    """Return the entries that nobody uses any more: what killed keepers have left. Changes nothing."""
    if not USERS.exists():
        return []
    mine = sorted(registry.glob(f"{PREFIX}*-{whose()}"))
    return [each.name for each in mine if not _in_use(users / each.name)]


def _in_use(lock: Path) -> bool:
    """Say whether somebody holds a lock; also when this user may not look."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


if __name__ == "__main__":
    see_registry()
    print(*(left() if sys.argv[1:] == ["left"] else sweep()))
