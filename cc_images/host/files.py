"""Files that survive a kill: locks, JSON that is old or new but never torn, and a disk's errors in words."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import pwd
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.model.catalog import Json

CHUNK = 1 << 20
"""Bytes that are read and written at a time."""

SOON = 2.0
"""Seconds after which a wait for a lock is worth a word."""

_log = logging.getLogger(__name__)

FAULTS = frozenset(
    {errno.EIO, errno.ESTALE, errno.ENOLCK, errno.EMLINK, errno.EFBIG, errno.EBADMSG, errno.EREMOTEIO, errno.EUCLEAN}
    | {errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO, errno.ENOTCONN}
)
"""Errors of a disk, or of a server behind a mount, that does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the writer of a file knows of it already: its digests and its size in bytes."""

    digest: str
    sha512: str
    size: int


def write_json(path: Path, data: Json, staged: Path | None = None) -> None:
    """Write a JSON file so that readers see the old one or the new one, also after a crash; see `write_bytes`."""
    text = json.dumps(data, indent=1, sort_keys=True, default=str)
    write_bytes(path, f"{text}\n".encode(), staged)


def write_bytes(path: Path, content: bytes, staged: Path | None = None) -> None:
    """Write a file so that readers see the old one or the new one, also after a crash.

    `staged` is the name of the unfinished file, for a caller that looks for it after a crash.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = staged or path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.rename(path)
    except OSError:
        staged.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def point(link: Path, target: Path) -> None:
    """Make `link` a symbolic link to `target`, replacing an old one in one step."""
    link.parent.mkdir(parents=True, exist_ok=True)
    staged = link.with_name(f".{link.name}.{os.getpid()}.{threading.get_ident()}")
    staged.unlink(missing_ok=True)
    staged.symlink_to(target)
    staged.rename(link)


def flush_folder(folder: Path) -> None:
    """Bring a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locked(path: Path, how: int) -> int:
    """Open `path` and lock it; return the descriptor that holds the lock. Raises BlockingIOError with LOCK_NB."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def try_lock(path: Path, how: int = fcntl.LOCK_EX) -> int | None:
    """Return the descriptor that holds the lock, or None when another has it."""
    try:
        return locked(path, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def is_held(path: Path) -> bool:
    """Say whether somebody has a lock. A lock file that is not there is not made."""
    if not path.exists():
        return False
    if (descriptor := try_lock(path)) is None:
        return True
    os.close(descriptor)
    return False


def wait_for_lock(
    path: Path,
    waiting: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
    how: int = fcntl.LOCK_EX,
    soon: float = SOON,
) -> int:
    """Return the descriptor that holds the lock, however long it takes; `waiting` is called once if it does.

    Without `waiting` the log says after `soon` seconds which lock it is.

    Raises Interrupted when `stop` is set meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    told, began = False, time.monotonic()
    while (descriptor := try_lock(path, how)) is None:
        if waiting is not None and not told:
            _log.info("waiting for %s", path)
            waiting()
            told = True
        elif waiting is None and not told and time.monotonic() - began > soon:
            _log.warning("waiting for another cc-images, which holds %s", path)
            told = True
        if stop is not None and stop.is_set():
            raise Interrupted("stopped while waiting for another run")
        time.sleep(0.05)
    if told:
        _log.info("got %s after %.1f s", path, time.monotonic() - began)
    return descriptor


def tree_size(path: Path) -> int:
    """Return the bytes of a file, or of the files below a folder; those that go meanwhile do not count."""
    total = 0 if path.is_dir() else path.lstat().st_size
    for root, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size
    return total


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def clear_errors(root: Path) -> Iterator[None]:
    """Turn what a file system says about a store into an error that says what is wrong where, and what to do.

    A file that is not the store's is named itself: its lack says nothing about the store.
    """
    try:
        yield
    except OSError as error:
        found = _in_words(error, root)
        if found is None:
            raise
        raise found from error


def _in_words(error: OSError, root: Path) -> CCImagesError | None:
    """Return what an error of a file system means; None for what is none."""
    paths = [Path(os.fsdecode(each)) for each in (error.filename, error.filename2) if isinstance(each, str | bytes)]
    elsewhere = next((path for path in paths if path.is_absolute() and not path.is_relative_to(root)), None)
    if elsewhere is not None and any(each in (root, *root.parents) for each in (elsewhere, elsewhere.parent)):
        elsewhere = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CCImagesError(
            f"the store {root} is full" if elsewhere is None else f"no space is left for {elsewhere}",
            hint="run `cc-images prune`, or set CC_IMAGES_STORE to a folder on a larger file system",
            reason=Reason.DISK_FULL,
        )
    if error.errno in FAULTS:
        return CCImagesError(
            f"the file system of {paths[0] if paths else root} has a fault: {error.strerror}",
            hint="look at the disk or the server behind it (dmesg), then run again",
            reason=Reason.DISK_FAULT,
            temporary=True,
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.ENOENT, errno.ELOOP,
                       errno.ENAMETOOLONG, errno.EISDIR):  # fmt: skip
        if elsewhere is not None:
            hints = {"/dev/loop-control": "load the kernel's module: modprobe loop"}
            return CCImagesError(
                f"{elsewhere}: {error.strerror}",
                hint=hints.get(str(elsewhere), "it is needed here; `cc-images doctor` checks this host"),
                reason=Reason.MISSING_FILE,
            )
        foreign = _foreign_owner(root)
        return CCImagesError(
            f"the store {root} cannot be written to: {error.strerror}",
            hint=f'files in it are {foreign}\'s: sudo chown -R "$(id -u):$(id -g)" {root}'
            if foreign
            else "set CC_IMAGES_STORE to a folder of yours",
            reason=Reason.STORE_UNWRITABLE,
        )
    return None


def _foreign_owner(root: Path) -> str:
    """Return another owner of files at the top of this user's store; empty when there is none."""
    with suppress(OSError):
        if root.stat().st_uid == os.getuid():
            for path in (*root.iterdir(), *root.glob("*/*")):
                if path.lstat().st_uid != os.getuid():
                    return "root" if path.lstat().st_uid == 0 else f"user {path.lstat().st_uid}"
    return ""


def refusal(folder: Path) -> str:
    """Return why nothing can be written to a folder, which need not exist yet; empty when it can."""
    existing = next(each for each in (folder, *folder.parents) if os.path.exists(each))
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def write_secret(target: Path, content: bytes, user: str = "") -> None:
    """Write a file that its user alone can read, from the first moment on, whole or not at all."""
    staged = target.with_name(f".{target.name}.{os.getpid()}")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        if user:
            os.fchown(descriptor, *_numbers(user))
        file.flush()
        os.fsync(descriptor)
    staged.rename(target)


def write_public(target: Path, text: str) -> None:
    """Write a file that everybody may read."""
    write_bytes(target, text.encode())
    target.chmod(0o644)


def _numbers(user: str) -> tuple[int, int]:
    found = pwd.getpwnam(user)
    return found.pw_uid, found.pw_gid
