"""Third-party elements: git repositories, brought to a branch's newest or to a pinned commit.

Each commit is checked out once, below `sources/` in the store; nothing changes there any more, so builds share it
without locks. The time of a folder there is that of its last use, by which it is pruned.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import shutil
import stat
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from cc_images import process
from cc_images.errors import CCImagesError
from cc_images.model import ElementSource
from cc_images.recipe import without_secrets
from cc_images.store import Store

_HANDED_DOWN = ("GIT_SSL", "SSH_AUTH", "SSL_CERT", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY")
"""Beginnings of the variables that git gets from the user's environment."""

TIMEOUT = 300.0
"""Seconds that one git command may take."""

_MIRROR = re.compile(r"(?P<source>[^.].*)\.[0-9a-f]{12}\.git")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HALF = re.compile(r"\.(?P<of>.+?)(\.[0-9a-f]{8}\.gone|\.new|\.tar)+")
"""What a killed run has left: not put in place yet, or on its way out."""

WHOLE = 40
"""Hexadecimal digits of a commit's whole name; a shorter one may mean another commit some day."""


class Checkout(NamedTuple):
    """A source's elements at one commit, and when its repository was last asked, in UTC."""

    folder: Path
    commit: str
    fetched: datetime


class Kept(NamedTuple):
    """What the store has of a source, and when it was used last, in seconds since 1970."""

    source: str
    what: str
    """The commit of a checkout; REPOSITORY; nothing for what a killed run has left half done."""
    path: Path
    used: float


REPOSITORY = "repository"
"""What is kept of a source besides its checkouts: the copy of its repository."""


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
                f"third-party elements {source.name} were never fetched from there",
                hint="run once without --offline",
                reason="offline",
            )
        if not offline and not (len(source.commit) == WHOLE and _has(source, mirror)):
            _fetch(source, mirror, stop)
        commit = _resolve(source, mirror)
        checkout = _at(commit, source, mirror, store)
    folder = checkout / source.elements_directory
    if not folder.is_dir():
        raise CCImagesError(
            f"third-party.yaml: {source.name}: no folder {source.elements_directory} at commit {commit[:12]}",
            hint="set elements_directory to the folder whose sub-folders are the elements",
            reason="missing-element",
        )
    return Checkout(folder, commit, _asked(mirror))


def last(source: ElementSource, store: Store) -> Path | None:
    """Return the folder of a source's elements as it was fetched last, or None; nothing is fetched."""
    mirror = _mirror(source, store)
    with suppress(CCImagesError), store.lock(f"source {source.name}"):
        if _has(source, mirror):
            folder = _at(_resolve(source, mirror), source, mirror, store) / source.elements_directory
            return folder if folder.is_dir() else None
    return None


def _at(commit: str, source: ElementSource, mirror: Path, store: Store) -> Path:
    """Return a commit's checkout, made if need be, and note that it is used. The caller holds the source's lock."""
    checkout = store.root / "sources" / source.name / commit
    if not checkout.exists():
        _check_out(mirror, commit, checkout)
    now = time.time()
    for used in (checkout, mirror):
        with suppress(PermissionError):  # another user's, who shares the store
            os.utime(used, (now, now))
    return checkout


def kept(store: Store) -> list[Kept]:
    """Return what the store has of all sources, what was used last first; also of those that are configured no more.

    A checkout comes before the repository that it is from. What is not of ours is left alone, links above all.
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
        return mirror.is_dir() and bool(_resolve(source, mirror))
    return False


def _asked(mirror: Path) -> datetime:
    """Return when a repository was last asked, in UTC."""
    return datetime.fromtimestamp((mirror / "FETCH_HEAD").stat().st_mtime, UTC).replace(microsecond=0)


def _git(mirror: Path, *arguments: str, url: str = "", stop: threading.Event | None = None) -> str:
    """Run git. An address goes by environment, its password as a header: git shows addresses in its helpers' argv."""
    env = {name: value for name, value in os.environ.items() if name.startswith(_HANDED_DOWN)}
    env |= {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/")}
    env |= {"GIT_DIR": str(mirror), "GIT_TERMINAL_PROMPT": "0"}
    # packs are put in place whole; loose objects of a killed fetch would be a commit without its files
    settings: dict[str, str] = {"fetch.unpackLimit": "1"}
    if url:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        if at and parts.scheme in ("http", "https"):
            header = base64.b64encode(unquote(user).encode()).decode()
            settings["http.extraHeader"] = f"Authorization: Basic {header}"
            url = parts._replace(netloc=host).geturl()
        settings["remote.origin.url"] = url
    env["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return process.run(["git", *arguments], env=env, timeout=TIMEOUT, stop=stop)


def _ref(source: ElementSource) -> str:
    """Return the one reference of ours for a branch: names of branches may be folders of each other."""
    return f"refs/cc-images/{hashlib.sha256(source.branch.encode()).hexdigest()[:12]}"


def _fetch(source: ElementSource, mirror: Path, stop: threading.Event | None) -> None:
    try:
        if not mirror.exists():
            staged = mirror.with_name(f".{mirror.name}.new")
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            _git(staged, "init", "--quiet", "--bare")
            staged.rename(mirror)
        for left in mirror.rglob("*.lock"):  # a killed git's; this process holds the source's lock
            left.unlink()
        # forced, so that a rewritten branch is followed; a pinned commit may lie on any branch
        refspec = "+refs/heads/*:refs/remotes/*" if source.commit else f"+refs/heads/{source.branch}:{_ref(source)}"
        fetch = ("fetch", "--quiet", "--force", "--prune", "--no-tags", "origin", refspec)
        _git(mirror, *fetch, url=source.repo, stop=stop)
    except process.CommandFailed as error:
        said = next((line for line in error.tail if line.startswith(("fatal:", "error:"))), error.message)
        here = f"; --offline uses the copy of {_asked(mirror):%Y-%m-%d %H:%M}" if _has(source, mirror) else ""
        raise CCImagesError(
            f"third-party elements {source.name} cannot be fetched: {without_secrets(said)}",
            hint=f"check repo and branch in third-party.yaml, and that the server is up{here}",
            reason="fetch",
            temporary=True,
        ) from error


def _resolve(source: ElementSource, mirror: Path) -> str:
    try:
        return _git(mirror, "rev-parse", "--verify", "--quiet", f"{source.commit or _ref(source)}^{{commit}}").strip()
    except process.CommandFailed as error:
        wanted = f"commit {source.commit}" if source.commit else f"branch {source.branch}"
        raise CCImagesError(
            f"third-party.yaml: {source.name}: {wanted} does not exist", hint="correct the entry", reason="fetch"
        ) from error


def _check_out(mirror: Path, commit: str, checkout: Path) -> None:
    """Write the commit's files beside `checkout`, then rename."""
    staged = checkout.with_name(f".{checkout.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    archive = staged.with_suffix(".tar")
    _git(mirror, "archive", "--format=tar", f"--output={archive}", commit)
    # Python before 3.11.4 has no filters; git's archives have no names that lead elsewhere
    safely = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
    shutil.unpack_archive(archive, staged, format="tar", **safely)  # type: ignore[arg-type]
    archive.unlink()
    staged.rename(checkout)
