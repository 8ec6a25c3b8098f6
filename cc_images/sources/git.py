"""Git repositories of elements and of files for builds, brought to a branch's newest or to a pinned commit.

Each commit is checked out once, below `sources/` in the store; nothing changes there any more, so builds share it
without locks. The time of a folder there is that of its last use, by which it is pruned.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cc_images.errors import CCImagesError, Reason
from cc_images.host import process
from cc_images.host.files import flush_folder
from cc_images.model.element_source import ElementSource
from cc_images.model.redaction import without_secrets
from cc_images.sources import checkouts, commits
from cc_images.sources.git_command import CORRUPT, git, torn_source
from cc_images.store.records import Store

_MIRROR = re.compile(r"(?P<source>[^.].*)\.[0-9a-f]{12}\.git")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HALF = re.compile(r"\.(?P<of>.+?)(\.[0-9a-f]{8}\.gone|\.new|\.tar)+")
"""Names of what a killed run has left: not put in place yet, or on its way out."""

WHOLE = 40
"""Hexadecimal digits of a commit's whole name; a shorter one may mean another commit some day."""


class Checkout(NamedTuple):
    """A source's elements at one commit, and when its repository was last asked, in UTC."""

    folder: Path
    commit: str
    fetched: datetime


class Kept(NamedTuple):
    """A holding of the store from a source, and when it was used last, in seconds since 1970."""

    source: str
    what: str
    """The commit of a checkout; REPOSITORY; nothing for what a killed run has left half done."""
    path: Path
    used: float


REPOSITORY = "repository"
"""The name of the copy of a source's repository, kept besides its checkouts."""


def update(
    source: ElementSource, store: Store, *, offline: bool = False, stop: threading.Event | None = None
) -> Checkout:
    """Bring a source's elements to the wanted commit.

    `offline` uses what was fetched last; so does a pinned commit that is here, since a commit never changes. Raises
    CCImagesError when the repository cannot be reached, or does not have the branch, the commit or the folder.
    """
    mirror = _mirror(source, store)
    with store.lock(f"source {source.name}"):
        if offline and not (mirror / "FETCH_HEAD").exists():
            raise CCImagesError(
                f"{source.title} {source.name} were never fetched from there",
                hint="run once without --offline",
                reason=Reason.OFFLINE,
            )
        if not offline and not (len(source.commit) == WHOLE and _has(source, mirror)):
            _fetch(source, mirror, stop)
        commit = commits.resolved(source, mirror)
        try:
            checkout = _at(commit, source, mirror, store)
        except checkouts.Torn as torn:
            if offline:
                raise torn_source(source, str(torn)) from torn
            _put_away(mirror)  # the copy itself is damaged: get another one
            _fetch(source, mirror, stop)
            try:
                checkout = _at(commits.resolved(source, mirror), source, mirror, store)
            except checkouts.Torn as again:
                raise torn_source(source, str(again)) from again
    folder = checkout / source.elements_directory
    if not folder.is_dir():
        raise CCImagesError(
            f"{source.file}: {source.name}: no folder {source.elements_directory} at commit {commit[:12]}",
            hint="set elements_directory to the folder whose sub-folders are the elements",
            reason=Reason.MISSING_ELEMENT,
        )
    return Checkout(folder, commit, _asked(mirror))


def last(source: ElementSource, store: Store) -> Path | None:
    """Return the folder of a source's elements as it was fetched last, or None; nothing is fetched."""
    mirror = _mirror(source, store)
    with suppress(CCImagesError, checkouts.Torn), store.lock(f"source {source.name}"):
        if _has(source, mirror):
            checkout = store.root / "sources" / source.name / commits.resolved(source, mirror)
            if not checkout.exists():
                _check_out(source, mirror, checkout.name, checkout)
            _note_use(checkout, mirror)  # what a build uses is checked by `update`; a look need not read all of it
            folder = checkout / source.elements_directory
            return folder if folder.is_dir() else None
    return None


def last_change(source: ElementSource, store: Store, at: str) -> str:
    """Return the newest commit, up to one, that changed the folder of a source. Raises CCImagesError."""
    return git(_mirror(source, store), "log", "-1", "--format=%H", at, "--", source.elements_directory).strip() or at


def damaged(store: Store) -> list[Path]:
    """Put away the checkouts that are not what their commits say, and return where they were."""
    found: list[Path] = []
    for each in kept(store):
        mirrors = [*(store.root / "sources").glob(f"{each.source}.*.git")]
        if each.what in ("", REPOSITORY):
            continue
        with store.lock(f"source {each.source}"):
            if each.path.exists() and not any(_is_intact(mirror, each.what, each.path) for mirror in mirrors):
                _put_away(each.path)
                found.append(each.path)
    return found


def _at(commit: str, source: ElementSource, mirror: Path, store: Store) -> Path:
    """Return a commit's checkout, made if need be, and note that it is used. The caller holds the source's lock."""
    checkout = store.root / "sources" / source.name / commit
    if not checkout.exists() or not _is_intact(mirror, commit, checkout):
        _put_away(checkout)
        _check_out(source, mirror, commit, checkout)
    _note_use(checkout, mirror)
    return checkout


def _note_use(*folders: Path) -> None:
    now = time.time()
    for used in folders:
        with suppress(PermissionError):  # another user's, who shares the store
            os.utime(used, (now, now))


def kept(store: Store) -> list[Kept]:
    """Return what the store has of all sources, what was used last first; also of those that are configured no more.

    A checkout comes before the repository that it is from. Files that are not ours stay as they are, links above all.
    """
    found: list[Kept] = []
    for place in (store.root / "sources").glob("*"):
        if (half := _HALF.fullmatch(place.name)) and (mirror := _MIRROR.fullmatch(half["of"])):
            found += _kept(mirror["source"], "", place)
        elif (mirror := _MIRROR.fullmatch(place.name)) and (place / "HEAD").is_file():
            found += _kept(mirror["source"], REPOSITORY, place)
        elif not (place.is_symlink() or place.name.startswith(".")):
            for each in place.glob("*"):
                if _COMMIT.fullmatch(each.name):
                    found += _kept(place.name, each.name, each)
                elif _HALF.fullmatch(each.name):
                    found += _kept(place.name, "", each)
    return sorted(found, key=lambda each: (-each.used, each.what == REPOSITORY))


def _kept(source: str, what: str, path: Path) -> Iterator[Kept]:
    times = []
    with suppress(OSError):  # it has just gone
        if stat.S_ISDIR(path.lstat().st_mode) or not (what or path.is_symlink()):
            times.append(path.lstat().st_mtime)
            times.append((path / "FETCH_HEAD").stat().st_mtime)
    if times:
        yield Kept(source, what, path, max(times))


def drop(each: Kept, store: Store, remove: Callable[[Path], None]) -> bool:
    """Remove what the store has of a source, unless it was used in between; say whether it is gone."""
    with store.lock(f"source {each.source}"):
        if [*_kept(*each[:3])] != [each]:
            return False
        aside = each.path.with_name(f".{each.path.name.removeprefix('.')}.{secrets.token_hex(4)}.gone")
        each.path.rename(aside)
        remove(aside)
        with suppress(OSError):  # others are there
            aside.parent.rmdir()
    return True


def _mirror(source: ElementSource, store: Store) -> Path:
    """Return the copy of a source's repository; one at another address has another copy."""
    address = hashlib.sha256(source.repo.encode()).hexdigest()[:12]
    return store.root / "sources" / f"{source.name}.{address}.git"


def _has(source: ElementSource, mirror: Path) -> bool:
    """Say whether the wanted commit is here."""
    with suppress(CCImagesError):
        return mirror.is_dir() and bool(commits.resolved(source, mirror))
    return False


def _asked(mirror: Path) -> datetime:
    """Return when a repository was last asked, in UTC."""
    return datetime.fromtimestamp((mirror / "FETCH_HEAD").stat().st_mtime, UTC).replace(microsecond=0)


def _fetch(source: ElementSource, mirror: Path, stop: threading.Event | None, again: bool = True) -> None:
    try:
        if not mirror.exists():
            staged = mirror.with_name(f".{mirror.name}.new")
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            git(staged, "init", "--quiet", "--bare")
            staged.rename(mirror)
        for left in mirror.rglob("*.lock"):  # a killed git's; this process holds the source's lock
            left.unlink()
        # forced, so that a rewritten branch is followed; a pinned commit may lie on any branch, or below a tag
        everything = ("+refs/heads/*:refs/remotes/*", "+refs/tags/*:refs/tags/*")
        fetch = ("fetch", "--quiet", "--force", "--no-tags", "origin")
        if source.alone:
            with suppress(process.CommandFailed):  # many servers give out only what branches and tags point to
                git(mirror, *fetch, "--depth=1", f"+{source.commit}:{commits.ref(source)}", url=source.repo, stop=stop)
                return None
        if source.commit:
            git(mirror, *fetch, "--prune", *everything, url=source.repo, stop=stop)
            return None
        head = f"refs/heads/{source.branch}" if source.branch else "HEAD"
        try:
            git(mirror, *fetch, f"+{head}:{commits.ref(source)}", url=source.repo, stop=stop)
        except process.CommandFailed as error:
            if not source.branch or not any("couldn't find remote ref" in line for line in error.tail):
                raise
            git(mirror, *fetch, f"+refs/tags/{source.branch}:{commits.ref(source)}", url=source.repo, stop=stop)
    except process.CommandFailed as error:
        if again and any(CORRUPT.search(line) for line in error.tail):
            _put_away(mirror)
            return _fetch(source, mirror, stop, again=False)
        said = next((line for line in error.tail if line.startswith(("fatal:", "error:"))), error.message)
        here = f"; --offline uses the copy of {_asked(mirror):%Y-%m-%d %H:%M}" if _has(source, mirror) else ""
        raise CCImagesError(
            f"{source.title} {source.name} cannot be fetched: {without_secrets(said)}",
            hint=f"check its address and commit or branch in {source.file}, and that the server is up{here}",
            reason=Reason.FETCH,
            temporary=True,
        ) from error


def _check_out(source: ElementSource, mirror: Path, commit: str, checkout: Path) -> None:
    """Write the commit's files beside `checkout`, then rename. Raises Torn."""
    staged = checkout.with_name(f".{checkout.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        checkouts.write(mirror, commit, staged)
        staged.rename(checkout)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise CCImagesError(
            f"{source.title} {source.name} cannot be written to {checkout}: {error.strerror}",
            hint="the store's file system must have room, and be writable",
            reason=Reason.DISK_FULL if error.errno == errno.ENOSPC else Reason.STORE_UNWRITABLE,
        ) from error
    flush_folder(checkout.parent)


def _is_intact(mirror: Path, commit: str, checkout: Path) -> bool:
    """Say whether a checkout has the commit's files; Torn is for those that the repository itself has no more."""
    return checkouts.intact(checkouts.entries(mirror, commit), checkout)


def _put_away(path: Path) -> None:
    """Remove a folder in whose place another one is to come; builds that read it go on with it."""
    if path.exists():
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.gone")
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
