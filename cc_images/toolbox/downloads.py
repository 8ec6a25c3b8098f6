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
    from cc_images.toolbox.kernel import mount
else:
    from kernel import mount


def show(cache: str, seed: str, scratch: str) -> None:
    """Show in the build's own cache what earlier builds have downloaded: by an overlay, else by a copy."""
    if not seed:
        return
    upper, work = scratch + "/cache-upper", scratch + "/cache-work"
    for folder in (upper, work):
        os.makedirs(folder)
    try:
        if "," in seed or ":" in seed:  # they separate mount options
            raise OSError
        mount("overlay", cache, "overlay", 0, f"lowerdir={seed},upperdir={upper},workdir={work}")
    except OSError:  # no overlayfs, or the scratch folder lies on one
        shutil.copytree(seed, cache, symlinks=True, dirs_exist_ok=True)


def note(cache: str, seed: str, out: str) -> None:
    """Leave in `out` what the build has downloaded: new files, and the list of those that were there before."""
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
            before = seed and os.path.join(seed, relative)
            if before and os.path.lexists(before) and like(status) == like(os.lstat(before)):
                kept.append(relative)
                continue
            new.append(relative)
            target = os.path.join(out, "cache", relative)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(path, target, follow_symlinks=False)
    found = {"kept": sorted(kept), "new": sorted(new), "empty": sorted(empty)}
    Path(out, "cache.json").write_text(json.dumps(found))


def like(status: os.stat_result) -> tuple[int, int, int]:
    """Return by what a file is taken for unchanged."""
    return stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns
