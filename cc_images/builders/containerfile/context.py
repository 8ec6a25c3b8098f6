"""The context of a build: a folder whose files a Containerfile may copy, as its ignore file leaves them.

Of a file counts what a clone of a repository has everywhere: its name, its content, and whether it may be executed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cc_images.builders.containerfile.ignore import ignored
from cc_images.builders.containerfile.spec import ContainerfileSpec
from cc_images.clock import EPOCH
from cc_images.errors import CCImagesError, Reason, UserError

FILES = ("Containerfile", "Dockerfile")
"""The names that a file may have, the first one wins."""

IGNORES = (".containerignore", ".dockerignore")

LARGEST = 4 << 30
"""Bytes of a context at most: more is a mistake, such as a build's output beside its source."""

MOST = 200_000
"""Files of a context at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, link or folder of a context."""

    name: str
    """Below the context, with slashes."""
    path: Path
    kind: str
    """`file`, `program` (a file that may be executed), `link` or `folder`."""
    size: int = 0

    @property
    def digest(self) -> str:
        """What identifies it in a key."""
        if self.kind == "folder":
            return self.kind
        if self.kind == "link":
            return f"link {os.readlink(self.path)}"
        try:
            with self.path.open("rb") as file:
                return f"{self.kind} {hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise _unreadable(self.path, error) from error


def file_of(folder: Path) -> Path:
    """Return the Containerfile of a folder. Raises UserError when it has none."""
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    missing = "is not there" if not folder.is_dir() else f"has no {' and no '.join(FILES)}"
    raise UserError(
        f"its context {folder} {missing}",
        hint="write it there, copy it from where the entry is from, or say `context:` with the folder that has it",
        reason=Reason.MISSING_FILE,
    )


def text_of(folder: Path) -> str:
    """Return the text of a folder's Containerfile. Raises UserError for one that cannot be read."""
    file = file_of(folder)
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}", hint="correct it", reason=Reason.MISSING_FILE) from error


def entries(folder: Path, ignore: str | None = None) -> list[Entry]:
    """Return what a context has, by name, without what its ignore file leaves out, or patterns in place of that.

    Raises UserError for what cannot be part of an image, and for a context that is too large.
    """
    found: list[Entry] = []
    size = 0
    for each in _walked(folder, ignore):
        found.append(each)
        size += each.size
        if size > LARGEST or len(found) > MOST:
            what = f"{LARGEST >> 30} GiB; {each.name} has {each.size >> 20} MiB" if size > LARGEST else f"{MOST} files"
            raise UserError(
                f"its context {folder} has more than {what}",
                hint=f"name in {_list(ignore)} what the image does not need",
                reason=Reason.TOO_MANY_FILES,
            )
    return found


def digest(found: list[Entry]) -> str:
    """Return the sha256 of a context."""
    listing = "".join(f"{each.name}\0{each.digest}\0" for each in found)
    return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()


def digest_of_text(text: str) -> str:
    """Return the sha256 of a Containerfile's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def spec_of(folder: Path, spec: ContainerfileSpec) -> ContainerfileSpec:
    """Return a spec that builds from a folder as it is now: one that another builder has made for this build.

    It lies in the workspace of the build, beside the folders `build`, `scratch` and `out`.
    """
    text = text_of(folder)
    return replace(spec, folder=str(folder), context=digest(entries(folder)), file=digest_of_text(text))


def copied(found: list[Entry], target: Path) -> str:
    """Write a context to a new folder, with modes and times that are the same everywhere; return the copy's digest.

    Raises OSError for a file that is gone.
    """
    target.mkdir(parents=True)
    for each in found:
        place = target / each.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if each.kind == "folder":
            place.mkdir(exist_ok=True)
        elif each.kind == "link":
            place.symlink_to(os.readlink(each.path))
        else:
            shutil.copyfile(each.path, place)
            place.chmod(0o755 if each.kind == "program" else 0o644)
    for path in (target, *target.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    return digest([replace(each, path=target / each.name) for each in found])


def changed(folder: Path | str) -> CCImagesError:
    """Return the error for a folder that is not what it was when the plan was made."""
    return CCImagesError(
        f"the files in {folder} have changed since the plan was made",
        hint="run it again",
        reason=Reason.OTHER_INPUTS,
        temporary=True,
    )


def _walked(folder: Path, ignore: str | None) -> Iterator[Entry]:
    """Yield what a context has, in the order of names."""
    text = _ignore_file(folder) if ignore is None else ignore
    left_out = ignored(text)
    takes_in = "!" in text
    stack = [(folder, "")]
    while stack:
        place, before = stack.pop()
        below: list[tuple[Path, str]] = []
        try:
            there = sorted(os.scandir(place), key=lambda each: each.name)
        except OSError as error:
            raise _unreadable(place, error) from error
        for each in there:
            name = f"{before}{each.name}"
            status = each.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and (takes_in or not left_out(name)):
                below.append((Path(each.path), f"{name}/"))  # something in it may be taken back in
            if left_out(name) or (ignore is None and not before and name in IGNORES):
                continue
            yield _entry(name, Path(each.path), status)
        stack += reversed(below)


def _entry(name: str, path: Path, status: os.stat_result) -> Entry:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        return Entry(name=name, path=path, kind="folder")
    if stat.S_ISLNK(mode):
        return Entry(name=name, path=path, kind="link")
    if stat.S_ISREG(mode):
        return Entry(name=name, path=path, kind="program" if mode & 0o111 else "file", size=status.st_size)
    what = "socket" if stat.S_ISSOCK(mode) else "pipe" if stat.S_ISFIFO(mode) else "device"
    raise UserError(
        f"its context has a {what}, {path}, which no image can have",
        hint=f"remove it, or name it in {IGNORES[0]}",
        reason=Reason.ODD_FILE,
    )


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"its context: {path} cannot be read: {error.strerror}",
        hint=f"let this user read it, or name it in {IGNORES[0]}",
        reason=Reason.MISSING_FILE,
    )


def _list(ignore: str | None) -> str:
    return IGNORES[0] if ignore is None else "`ignore` of the context"


def _ignore_file(folder: Path) -> str:
    for name in IGNORES:
        if (folder / name).is_file():
            return (folder / name).read_text(errors="surrogateescape")
    return ""
