"""Files that survive a kill: locks, JSON that is old or new but never torn, and what to say when a disk refuses."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cc_images.errors import CCImagesError, Interrupted
from cc_images.model import Json


def write_json(path: Path, data: Json, staged: Path | None = None) -> None:
    """Write a JSON file so that readers see the old one or the new one, also after a crash.

    `staged` is the name of the unfinished file, for a caller that looks for it after a crash.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = staged or path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with staged.open("w") as file:
            json.dump(data, file, indent=1, sort_keys=True, default=str)
            file.write("\n")
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


def wait_for_lock(
    path: Path,
    waiting: Callable[[], None] = lambda: None,
    stop: threading.Event | None = None,
    how: int = fcntl.LOCK_EX,
) -> int:
    """Return the descriptor that holds the lock, however long it takes; `waiting` is called once if it does.

    Raises Interrupted when `stop` is set meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while (descriptor := try_lock(path, how)) is None:
        if not told:
            waiting()
        told = True
        if stop is not None and stop.is_set():
            raise Interrupted("waiting for another run was ended")
        time.sleep(0.05)
    return descriptor


def tree_size(path: Path) -> int:
    """Return the bytes of a file, or of the files below a folder; those that go meanwhile do not count."""
    total = 0 if path.is_dir() else path.lstat().st_size
    for root, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size
    return total


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def clear_errors(root: Path) -> Iterator[None]:
    """Turn what a file system says about a lack of room or rights into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CCImagesError(
                f"the store {root} is full",
                hint="run `cc-images prune`, or set CC_IMAGES_STORE to a folder on a larger file system",
                reason="disk-full",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.ENOENT, errno.ELOOP):
            raise CCImagesError(
                f"the store {root} cannot be written to: {error.strerror}",
                hint="set CC_IMAGES_STORE to a folder of yours",
                reason="store-unwritable",
            ) from error
        raise
