"""What a build finds in its cache of downloads, and what it has added to it.

The standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cc_images.toolbox.kernel import MS_RDONLY, mount
else:
    from kernel import MS_RDONLY, mount


VERIFIED = "apt"
"""What no build finds in its cache: apt would take it unverified, so its packages are offered apart."""

OFFERED = "offered"
"""The folder beside the cache in which they are offered, by distribution."""


def show(cache: str, seeds: list[str], scratch: str) -> None:
    """Show in the build's own cache what earlier builds have downloaded: by an overlay, else by a copy.

    Of `seeds` the first is the image's own; the others are those of its ancestors, the nearest first.
    """
    if not seeds:
        return
    upper, work, hidden = (f"{scratch}/cache-{name}" for name in ("upper", "work", "hidden"))
    for folder in (upper, work, hidden):
        os.makedirs(folder)
    os.mknod(f"{hidden}/{VERIFIED}", stat.S_IFCHR, 0)  # a whiteout, see overlayfs.rst
    try:
        lower = overlaid([hidden, *seeds])
        mount("overlay", cache, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
    except OSError:  # no overlayfs, or the scratch folder lies on one
        for seed in reversed(seeds):
            shutil.copytree(
                seed, cache, symlinks=True, dirs_exist_ok=True, ignore=lambda root, names: hide(root, names, seeds)
            )
    offer(seeds, f"{scratch}/{OFFERED}")


def hide(root: str, names: list[str], seeds: list[str]) -> list[str]:
    """Return what of a folder is not copied."""
    return [VERIFIED] if root in seeds and VERIFIED in names else []


def offer(seeds: list[str], place: str) -> None:
    """Show all packages of apt's in one folder, by distribution; those of nearer seeds win."""
    folders = [each for seed in seeds if os.path.isdir(each := os.path.join(seed, VERIFIED))]
    os.makedirs(place)
    os.makedirs(place + "-none")
    try:
        lower = overlaid([place + "-none", *folders])
        mount("overlay", place, "overlay", MS_RDONLY, f"lowerdir={lower}")
    except OSError:
        for each in reversed(folders):
            shutil.copytree(each, place, dirs_exist_ok=True)


def overlaid(folders: list[str]) -> str:
    """Return folders as overlayfs takes them in its option. Raises OSError for those with a comma, which ends one."""
    if any("," in each for each in folders):
        raise OSError
    return ":".join(each.replace("\\", "\\\\").replace(":", "\\:") for each in folders)


def note(cache: str, seeds: list[str], out: str) -> None:
    """Leave in `out` what the build has downloaded: new files, and the list of those that its own seed had before."""
    kept, new, empty = [], [], []
    for root, folders, files in os.walk(cache):
        packages = os.path.relpath(root, cache).partition("/")[0] in ("apt", "yum")
        if packages:
            folders[:] = [name for name in folders if name != "partial"]
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        if not (folders or files) and root != cache:
            empty.append(os.path.relpath(root, cache))  # a git repository is none without them
        for name in [*files, *links]:
            path = os.path.join(root, name)
            relative = os.path.relpath(path, cache)
            status = os.lstat(path)
            if (packages and name == "lock") or not (stat.S_ISREG(status.st_mode) or os.path.islink(path)):
                continue
            known = [number for number, seed in enumerate(seeds) if alike(status, os.path.join(seed, relative))]
            if known:
                kept += [relative] if known[0] == 0 else []
                continue
            new.append(relative)
            target = os.path.join(out, "cache", relative)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(path, target, follow_symlinks=False)
    found = {"kept": sorted(kept), "new": sorted(new), "empty": sorted(empty)}
    Path(out, "cache.json").write_text(json.dumps(found))


def alike(status: os.stat_result, path: str) -> bool:
    """Say whether a file is taken for the same as one that a seed has."""
    return os.path.lexists(path) and like(status) == like(os.lstat(path))


def like(status: os.stat_result) -> tuple[int, int, int]:
    """Return by what a file is taken for unchanged."""
    return stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns
