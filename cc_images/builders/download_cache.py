"""Download caches: files that builds have downloaded, kept for later builds of an image and of its descendants.

dib's own image cache must never be shared by two builds that run (apt's and git's locks, half-written files). So a
build sees the newest *generation* of its image's family, and of its ancestors', read-only through an overlay, writes
to its private upper layer, and what it has added is promoted to a new generation of its own family once it has
succeeded. Downloads of a child are never input of its parent. A generation is immutable, shares its files by hard
link with the one before, and its files are read and compared with their digests before a build sees them; packages of
apt's reach it only when the image's signed indices list them (`toolbox/elements/cc-build/cc-build/downloads`).

    caches/<family>/<generation>/…          files as dib lays them out
    caches/<family>/<generation>.json       their digests, written last
    caches/<family>/current                 link to the newest generation

Below `apt` and `yum` files of several builds are united, since each has its version in its name, and none is
replaced. All else, such as git mirrors and base images, is taken whole from the build that was promoted last.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.host import record_files
from cc_images.host.files import clear_errors, file_digest, point, tree_size, try_lock, write_json
from cc_images.model import record_shapes
from cc_images.model.catalog import Json

UNITED = frozenset({"apt", "yum"})

FOLDER = "folder"
"""The stand-in for the digest of an empty folder, which some tools must have."""

LARGEST = 8 << 30
"""Bytes of united files that a generation keeps at most; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation that a build may read for as long as the lock `descriptor` is held."""

    path: Path
    descriptor: int

    def close(self) -> None:
        """Let others remove it."""
        os.close(self.descriptor)


class Caches:
    """The folder `caches/` of a store."""

    def __init__(self, root: Path) -> None:
        self.root = root / "caches"

    def newest(self, family: str) -> Generation | None:
        """Return the family's newest generation, locked against removal; None when there is none that is intact."""
        for _ in range(3):  # it may be replaced between the look and the lock
            try:
                path = self.root / family / os.readlink(self.root / family / "current")
                descriptor = try_lock(_beside(path, "lock"), fcntl.LOCK_SH)
            except OSError:
                return None
            if descriptor is None:
                continue
            if self._is_intact(path):
                os.utime(_beside(path, "lock"))
                return Generation(path, descriptor)
            os.close(descriptor)
            if path.is_dir():
                with suppress(OSError):
                    (self.root / family / "current").unlink()
        return None

    def promote(self, family: str, name: str, used: Path | None, out: Path, remove: Callable[[Path], None]) -> None:
        """Make what a build left in its folder `out` the family's newest generation; does nothing without news.

        `cache.json` there lists the files that the build still had of the generation `used`, and the new ones, which
        lie below `cache/`. `name` becomes the beginning of the generation's. The caller holds the family's lock. Old
        generations that nobody reads are removed.
        """
        said = record_files.found(out / "cache.json", record_shapes.DownloadsShape)
        if not said.get("new"):
            return
        folder = self.root / family
        while (folder / name).exists():
            name += "+"
        current = self._current(folder)
        staged = folder / f"{name}.new"
        if staged.exists():
            remove(staged)
        staged.mkdir(parents=True)
        with clear_errors(self.root):
            digests = self._gathered(staged, said, current, used, out)
            _trim(staged, digests)
            write_json(_beside(folder / name, "json"), digests)
            _beside(folder / name, "lock").touch()
            staged.rename(folder / name)
            point(folder / "current", Path(name))
        self._sweep(folder, remove)

    def _gathered(self, staged: Path, said: Json, current: Path | None, used: Path | None, out: Path) -> dict[str, str]:
        """Fill a new generation from the newest one, from the one that the build had, and from the build."""
        mine = {_unit(path) for path in (*said["kept"], *said["new"])}
        digests: dict[str, str] = {}
        before = self._digests(current) if current else {}
        for path, digest in before.items():
            if _unit(path) in UNITED or _unit(path) not in mine:
                _link(current, staged, path, digests, digest)
        known = self._digests(used) if used else {}
        for path in said["kept"]:
            _link(used, staged, path, digests, known.get(path, ""))
        for path in said["new"]:
            if _unit(path) in UNITED and path in digests:
                continue  # what is there was there first; a file of the same name has the same content, or is no good
            target = staged / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            (out / "cache" / path).rename(target)
            digests[path] = _fingerprint(target)
        for path in said["empty"]:
            (staged / path).mkdir(parents=True, exist_ok=True)
            digests[path] = FOLDER
        return digests

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each family's newest generation."""
        families = [path for path in self.root.glob("*") if path.is_dir()]
        return {path.name: tree_size(current) for path in families if (current := self._current(path))}

    def last_used(self, family: str) -> float:
        """Return when a build last read or promoted the family's cache, in seconds since 1970."""
        return max((path.stat().st_mtime for path in (self.root / family).glob("*.lock")), default=0.0)

    def is_read(self, family: str) -> bool:
        """Say whether a build reads the family's newest generation."""
        current = self._current(self.root / family)
        if current is None:
            return False
        try:
            descriptor = try_lock(_beside(current, "lock"))
        except OSError:
            return True
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is None

    def drop(self, family: str, remove: Callable[[Path], None]) -> int:
        """Remove a family's cache unless a build reads it, and return the bytes that frees.

        The caller holds the family's lock.
        """
        folder = self.root / family
        current = self._current(folder)
        if current is None or self.is_read(family):
            return 0
        freed = tree_size(current)
        with suppress(OSError):
            (folder / "current").unlink()
        self._sweep(folder, remove)
        return freed

    def _current(self, folder: Path) -> Path | None:
        with suppress(OSError):
            path = folder / os.readlink(folder / "current")
            return path if path.is_dir() else None
        return None

    def _digests(self, generation: Path) -> dict[str, str]:
        found = record_files.found(_beside(generation, "json"), record_shapes.MemoryShape)
        return {path: digest for path, digest in found.items() if path != "format" and isinstance(digest, str)}

    def _is_intact(self, generation: Path) -> bool:
        """Read all files and compare digests: nothing else checks what a build installs from here."""
        digests = self._digests(generation)
        with suppress(OSError):
            return bool(digests) and all(_fingerprint(generation / path) == each for path, each in digests.items())
        return False

    def _sweep(self, folder: Path, remove: Callable[[Path], None]) -> None:
        """Remove the generations that are neither the newest nor read by a build."""
        current = self._current(folder)
        for path in [entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()]:
            lock = _beside(path, "lock")
            if path == current or (descriptor := try_lock(lock)) is None:
                continue
            try:
                remove(path)
                _beside(path, "json").unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _fingerprint(path: Path) -> str:
    """Return what a file must be later on: its digest, where a link points, or that it is a folder without files."""
    if path.is_symlink():
        return f"link {os.readlink(path)}"
    return FOLDER if path.is_dir() else file_digest(path)


def _beside(generation: Path, ending: str) -> Path:
    """Return the file beside a generation, whose own name may have dots."""
    return generation.with_name(f"{generation.name}.{ending}")


def _unit(path: str) -> str:
    return path.partition("/")[0]


def _link(source: Path | None, target: Path, path: str, digests: dict[str, str], digest: str) -> None:
    """Give a new generation a file of another one, unless it came from an ancestor's cache: it stays there."""
    if source is None or not digest or path in digests:
        return
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        if digest == FOLDER:
            (target / path).mkdir(exist_ok=True)
        else:
            os.link(source / path, target / path, follow_symlinks=False)
        digests[path] = digest


def _trim(generation: Path, digests: dict[str, str]) -> None:
    """Drop the oldest united files above the limit."""
    united = [path for path in digests if _unit(path) in UNITED]
    ages = sorted((-(generation / path).lstat().st_mtime_ns, path) for path in united)
    total = 0
    for _, path in ages:
        total += (generation / path).lstat().st_size
        if total > LARGEST and digests[path] != FOLDER:
            (generation / path).unlink()
            del digests[path]
