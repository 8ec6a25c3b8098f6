"""The removal of packages from a build cache of ours: those that no lock file needs and no build uses."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.builders.spack import cache_layout as layout
from cc_images.builders.spack.package_locks import PackageLocks
from cc_images.builders.spack.places import LONG_AGO, Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What went, or would go: a package, or files that belong to none; why, and how many bytes that frees."""

    name: str
    why: str
    size: int


def dropped(
    folder: Folder, locks: PackageLocks, needed: Collection[str], now: float, *, dry_run: bool
) -> list[Dropped]:
    """Remove what is not needed, manifests before blobs, and return it; with `dry_run` only the latter.

    The locks of packages that go are held until the caller ends, so that nobody builds on one that is half gone.
    """
    going = [path for path in folder.manifests(layout.SPECS)
             if (name := layout.hash_of(path)) and name not in needed and locks.alone(name)]  # fmt: skip
    staying = sorted({*folder.manifests()} - {*going})
    named_still = {digest for path in staying for digest in _blobs(folder, path)}
    found: list[Dropped] = []
    own: set[str] = set()
    for path in going:
        blobs = {digest for digest in _blobs(folder, path) if digest not in named_still | own}
        own |= blobs
        files = [folder.root / path, *(folder.root / layout.blob_path(digest) for digest in sorted(blobs))]
        size = _gone(files, dry_run)
        found.append(Dropped(name=_label(path), why="no lock file that is kept needs it", size=size))
    for file in (*_orphans(folder, named_still | own, now), *folder.forgotten_parts(now)):
        found.append(Dropped(name=file.name[:12], why="no package has this file", size=_gone([file], dry_run)))
    return found


def _orphans(folder: Folder, named: Collection[str], now: float) -> Iterator[Path]:
    """Yield blobs that no manifest names, but for young ones: their manifest may be about to come."""
    for path in folder.blobs():
        with suppress(OSError):
            if path.name not in named and now - path.lstat().st_ctime > LONG_AGO:
                yield path


def _blobs(folder: Folder, path: str) -> frozenset[str]:
    """Return the digests that a manifest names; none of one that is damaged."""
    try:
        found = layout.all_blobs(folder.read(path, layout.MOST_OF_A_MANIFEST) or b"")
        return frozenset(digest for digest in found if layout.blob_path(digest))
    except layout.Odd:
        return frozenset()


def _gone(files: list[Path], dry_run: bool) -> int:
    """Remove files and return their size in bytes."""
    size = 0
    for file in files:
        with suppress(OSError):
            size += file.lstat().st_size
            if not dry_run:
                file.unlink()
    return size


def _label(path: str) -> str:
    """Return the name of a package from the path of its manifest: NAME-VERSION/HASH."""
    name, _, digest = path.rpartition("/")[2].removesuffix(".spec.manifest.json").rpartition("-")
    return f"{name}/{digest[:7]}"
