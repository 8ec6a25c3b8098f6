"""Checkouts: the files of a commit as it has them, written and checked by git's own digests.

git's `checkout` and `archive` follow the user's settings and the repository's attributes (line endings, filters,
files that are left out of archives). Elements are read as they were committed, so the objects themselves are read
here. Submodules are empty folders, as git leaves them.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from cc_images.host import environment
from cc_images.host.files import flush_folder

CHUNK = 1 << 20

LINK, SUBMODULE, PROGRAM = "120000", "160000", "100755"


class Torn(Exception):
    """A repository that does not have what a commit is made of, or has something else."""


class Entry(NamedTuple):
    """A file of a commit: its mode and digest as git has them, and its path."""

    mode: str
    digest: str
    path: str


def entries(mirror: Path, commit: str) -> list[Entry]:
    """Return the files of a commit. Raises Torn when the repository cannot list them."""
    found: list[Entry] = []
    for line in _asked(mirror, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
        if line:
            head, _, path = line.partition(b"\t")
            mode, _, digest = head.decode().split(" ")
            found.append(Entry(mode, digest, os.fsdecode(path)))
    for each in found:
        if {*each.path.split("/")} & {"", ".", "..", ".git"}:
            raise Torn(f"a path of commit {commit[:12]} leads elsewhere: {each.path}")
    return found


def write(mirror: Path, commit: str, folder: Path) -> None:
    """Write the files of a commit into an empty folder, and flush them. Raises Torn."""
    listed = entries(mirror, commit)
    blobs = [each for each in listed if each.mode != SUBMODULE]
    with _objects(mirror, [each.digest for each in blobs]) as (git, said):
        for each in blobs:
            _write(said, each, folder / each.path)
        if git.wait() != 0:
            raise Torn("git could not read its objects")
    for each in listed:
        if each.mode == SUBMODULE:
            (folder / each.path).mkdir(parents=True, exist_ok=True)
    for root, _, _ in os.walk(folder, topdown=False):
        os.chmod(root, 0o755)
        flush_folder(Path(root))


def intact(listed: Sequence[Entry], folder: Path) -> bool:
    """Say whether a folder has these files and no others, with their contents and rights."""
    wanted = {each.path: each for each in listed if each.mode != SUBMODULE}
    try:
        there = {str(path.relative_to(folder)) for path in _files(folder)}
        return there == wanted.keys() and all(_fits(each, folder / each.path) for each in wanted.values())
    except OSError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        yield from (Path(root, name) for name in files)
        yield from (Path(root, name) for name in folders if os.path.islink(os.path.join(root, name)))


def _fits(entry: Entry, path: Path) -> bool:
    status = path.lstat()
    if entry.mode == LINK:
        return stat.S_ISLNK(status.st_mode) and _digest_of(entry, os.fsencode(os.readlink(path))) == entry.digest
    if not stat.S_ISREG(status.st_mode) or bool(status.st_mode & stat.S_IXUSR) != (entry.mode == PROGRAM):
        return False
    digest = _hash(entry, status.st_size)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return bool(digest.hexdigest() == entry.digest)


def _write(said: IO[bytes], entry: Entry, path: Path) -> None:
    """Write one object, whose digest is checked on the way."""
    head = said.readline().split()
    if len(head) != 3 or head[1] != b"blob":
        raise Torn(f"{entry.path} is missing in the repository")
    left = int(head[2])
    digest = _hash(entry, left)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        while left:
            chunk = said.read(min(left, CHUNK))
            if not chunk:
                raise Torn(f"{entry.path} broke off")
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
        file.flush()
        os.fsync(file.fileno())
    said.read(1)
    if digest.hexdigest() != entry.digest:
        raise Torn(f"{entry.path} is damaged in the repository")
    if entry.mode == LINK:
        target = path.read_bytes()
        path.unlink()
        os.symlink(target, os.fsencode(path))
    else:
        path.chmod(0o755 if entry.mode == PROGRAM else 0o644)


def _hash(entry: Entry, size: int) -> hashlib._Hash:
    """Return the beginning of an object's digest: SHA-1 or SHA-256 by its length, see gitformat-pack(5)."""
    return hashlib.new("sha1" if len(entry.digest) == 40 else "sha256", b"blob %d\0" % size)


def _digest_of(entry: Entry, content: bytes) -> str:
    digest = _hash(entry, len(content))
    digest.update(content)
    return digest.hexdigest()


@contextmanager
def _objects(mirror: Path, digests: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Have a git that prints these objects one after the other, for as long as the context lasts."""
    with tempfile.TemporaryFile() as wanted:
        wanted.write("".join(f"{each}\n" for each in digests).encode())
        wanted.seek(0)
        git = subprocess.Popen(
            ["git", "cat-file", "--batch"],
            env=_environment(mirror),
            stdin=wanted,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert git.stdout is not None
        try:
            yield git, git.stdout
        finally:
            git.kill()
            git.communicate()


def _asked(mirror: Path, *words: str) -> bytes:
    said = subprocess.run(["git", *words], env=_environment(mirror), stdin=subprocess.DEVNULL, capture_output=True)
    if said.returncode != 0:
        raise Torn(said.stderr.decode(errors="replace").strip()[-200:] or f"git {words[0]} failed")
    return said.stdout


def _environment(mirror: Path) -> Mapping[str, str]:
    """Return an environment in which no setting of the user, the host or the repository's replacements has a say."""
    return {
        "PATH": environment.plain()["PATH"],
        "HOME": "/nonexistent",
        "GIT_DIR": str(mirror),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "GIT_NO_REPLACE_OBJECTS": "1",
    }
