"""What folders as sites have in common: a lock, a copy that is read again, and errors of the file system as ours."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cc_images.errors import CCImagesError, Interrupted, Reason
from cc_images.host.files import CHUNK
from cc_images.model.stop import Stop

LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of file systems without locks, such as NFS without its lock daemon."""

_log = logging.getLogger(__name__)


@contextmanager
def locked(name: str, folder: Path, stop: Stop) -> Iterator[None]:
    """Hold a folder's lock, where its file system has locks; make it first, if it is not there.

    Raises Interrupted once `stop` is set, and CCImagesError for a folder of the site `name` that cannot be used.
    """
    with translated(name, folder):
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with translated(name, folder):
            while not _flocked(descriptor):
                if stop.is_set():
                    raise Interrupted("stopped while waiting for another push to the folder")
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _flocked(descriptor: int) -> bool:
    """Lock an open folder, and say whether that could be; it cannot while another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        _log.warning("the folder's file system has no locks: two hosts that push there at once may conflict")
    return True


@contextmanager
def translated(name: str, folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error of the site `name`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise CCImagesError(
            f"site {name}: {folder}: {error.strerror}",
            hint="free some space there" if full else "the site's directory must be writable and allow hard links",
            reason=Reason.DISK_FULL if full else Reason.SITE,
        ) from error


def copied(
    source: Path, target: Path, algorithms: Sequence[str], stop: Stop, report: Callable[[int], None]
) -> dict[str, str | int]:
    """Copy a file sparsely, flush it, read it again; return its `size` and the digests of what was written."""
    done = 0
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(CHUNK):
            if stop.is_set():
                raise Interrupted("the push was stopped")
            if chunk.count(0) < len(chunk):
                writing.write(chunk)
            else:
                writing.seek(len(chunk), os.SEEK_CUR)
            done += len(chunk)
            report(done)
        writing.truncate(done)
        os.fchmod(writing.fileno(), 0o644)  # the server of the folder may be another user
    flushed(target)
    found = {name: hashlib.new(name) for name in algorithms}
    with target.open("rb") as written:
        while chunk := written.read(CHUNK):
            for each in found.values():
                each.update(chunk)
    return {"size": done} | {name: each.hexdigest() for name, each in found.items()}


def flushed(file: Path) -> None:
    """Bring a file's bytes to disk."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
