"""The epoch of a tree: the newest time that its packages gave to a file of theirs; nothing in an image is younger.

Every file that a build makes or changes is younger than that, by its own clock, and gets this time. So two trees of the
same packages have the same times, and an image's newest file says of when its packages are. Runs alone; knows nothing
of cc_images.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

FIRST = 1_700_000_000
"""Seconds since 1970: the epoch of a tree whose packages say nothing."""


def of(tree: str, began: float) -> int:
    """Return the epoch of a tree in seconds since 1970; what is not older than `began` was made by the build."""
    newest = FIRST
    for path in shipped(tree):
        try:
            status = os.lstat(os.path.join(tree, path))
        except OSError:
            continue
        if newest < status.st_mtime < began and stat.S_ISREG(status.st_mode):
            newest = int(status.st_mtime)
    return newest


def shipped(tree: str) -> Iterator[str]:
    """Yield the files of a tree's packages, relative to it, as dpkg lists them."""
    for listed in sorted(Path(tree, "var/lib/dpkg/info").glob("*.md5sums")):
        for line in listed.read_text(errors="replace").splitlines():
            yield line[34:]


def clamp(tree: str, epoch: int) -> None:
    """Set the time of all in a tree that is younger than the epoch, on its file system alone."""
    device = os.lstat(tree).st_dev
    folders = [tree]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as entries:
            found = list(entries)
        for each in found:
            status = each.stat(follow_symlinks=False)
            if each.is_dir(follow_symlinks=False) and status.st_dev == device:
                folders.append(each.path)
            elif status.st_mtime_ns > epoch * 10**9:
                os.utime(each.path, (epoch, epoch), follow_symlinks=False)
        # after what is in it
        if os.lstat(folder).st_mtime_ns > epoch * 10**9:
            os.utime(folder, (epoch, epoch))
