"""Downloads: a file that goes on after cuts, is verified, and gets its name when it is whole."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.web.client.connection import Cut
from cc_images.web.client.decisions import begins_at
from cc_images.web.client.service import Described, Service, described_by, file_path

CHUNK = 1 << 20

Progress = Callable[[int, int], None]
"""Gets the bytes that are there, and all."""


def download(service: Service, name: str, folder: Path, progress: Progress) -> Path:
    """Download a file into a folder, in place of one of that name, and return its path.

    What came before an end stays in a hidden file, with which the next call goes on. Raises CCImagesError.
    """
    wanted = service.described(name)
    target, path = folder / name, folder / f".{name}.part"
    try:
        with _part(path) as part:
            left = part.seek(0, os.SEEK_END) > 0
            wanted, found = _filled(service, name, wanted, part, progress)
            if found != wanted.sha256 and left:  # what an earlier call has left was of another file
                part.truncate(0)
                wanted, found = _filled(service, name, wanted, part, progress)
            if found != wanted.sha256:
                path.unlink()
                raise CCImagesError(
                    f"{name} is not what the service says: its sha256 is {found}, not {wanted.sha256}",
                    hint="download it again; tell the operator if that does not help", reason=Reason.DIGEST,
                )  # fmt: skip
            part.flush()
            os.fsync(part.fileno())
            path.replace(target)
    except OSError as error:
        raise CCImagesError(f"{target} cannot be written: {error.strerror}", reason=Reason.FETCH) from None
    return target


def _filled(
    service: Service, name: str, wanted: Described, part: BinaryIO, progress: Progress
) -> tuple[Described, str]:
    """Fetch what a part lacks. Return what the service says of the file by then, and the sha256 of the part."""
    have, found = _begun(part, wanted.size)
    while have < wanted.size:
        headers = {"range": f"bytes={have}-", "if-range": wanted.tag} if have and wanted.tag else {}
        try:
            with service.link.open("GET", file_path(name), headers=headers) as answer:
                service.attempts.answered()
                if answer.status != 206:  # it is another file by now, or nothing was there
                    wanted, have, found = described_by(answer, name), 0, hashlib.sha256()
                elif begins_at(answer.header("content-range")) != have:
                    raise CCImagesError(f"{name}: the service sends another part than was asked for")
                part.seek(have)
                part.truncate()
                while have < wanted.size and (chunk := answer.read(min(CHUNK, wanted.size - have))):
                    part.write(chunk)
                    found.update(chunk)
                    have += len(chunk)
                    service.attempts.moved()
                    progress(have, wanted.size)
            if have < wanted.size:
                raise Cut(f"the connection to {service.link.address} was cut")
        except Cut as error:
            service.attempts.failed(error)
    return wanted, found.hexdigest()


def _begun(part: BinaryIO, size: int) -> tuple[int, Any]:
    """Return how many bytes of a file are there, and the hash of them; those that are too many are dropped."""
    found, have = hashlib.sha256(), 0
    if part.seek(0, os.SEEK_END) > size:
        part.truncate(0)
    part.seek(0)
    while chunk := part.read(CHUNK):
        found.update(chunk)
        have += len(chunk)
    return have, found


@contextmanager
def _part(path: Path) -> Iterator[BinaryIO]:
    """Open the hidden file of a download, and keep others from it. Raises UserError, and OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "r+b") as part:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another program downloads {path.name[1:].removesuffix('.part')} there", reason=Reason.BUSY
                ) from None
            if not _is_at(path, part):  # another program has just finished with it
                continue
            yield part
            return


def _is_at(path: Path, part: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(part.fileno()))
    except FileNotFoundError:
        return False
