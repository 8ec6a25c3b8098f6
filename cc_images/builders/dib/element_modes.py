"""The modes of elements' files: 0755 for folders and programs, 0644 for the rest, whatever the umask of a checkout was.

Builds copy files of elements into images with their modes, so an image must not depend on who cloned the repository.
An element that has other modes is copied for a build.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path


def normal(mode: int) -> int:
    """Return the mode that a file or folder has in builds."""
    return 0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644


def is_normal(folder: Path) -> bool:
    """Say whether all below an element's folder has the modes that builds see."""
    return all(stat.S_IMODE(status.st_mode) == normal(status.st_mode) for status in _statuses(folder))


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    yield os.stat(folder)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(root, name))
            if not stat.S_ISLNK(status.st_mode):
                yield status


def copy_normal(folder: Path, target: Path) -> None:
    """Copy an element with normal modes. Links within it stay links, others become what they lead to."""
    _copy(folder, target, folder, frozenset())


def _copy(folder: Path, target: Path, element: Path, above: frozenset[Path]) -> None:
    above |= {Path(os.path.realpath(folder))}
    target.mkdir(mode=0o755)
    target.chmod(0o755)
    for entry in sorted(folder.iterdir()):
        place, real = target / entry.name, Path(os.path.realpath(entry))
        if entry.is_symlink() and (_stays(entry, element) or not os.path.exists(entry)):
            place.symlink_to(os.readlink(entry))
        elif real.is_dir():
            if entry.name != "__pycache__" and real not in above:
                _copy(entry, place, element, above)
        elif real.is_file():
            shutil.copyfile(real, place)
            place.chmod(normal(real.stat().st_mode))


def _stays(link: Path, element: Path) -> bool:
    """Say whether a link leads to the same place in a copy: it is relative, and does not leave the element."""
    leads, real = os.readlink(link), Path(os.path.realpath(link))
    inside = real.is_relative_to(os.path.realpath(element))
    return inside and not os.path.isabs(leads) and Path(os.path.normpath(link.parent / leads)).is_relative_to(element)


def make_normal(folder: Path) -> None:
    """Give normal modes to a folder of ours and all below it."""
    folder.chmod(0o755)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod(normal(path.stat().st_mode))


def lost(folder: Path) -> Iterator[str]:
    """Yield a sentence for each file below `static` that was given a mode on purpose, which builds do not see.

    Where a umask took rights away, it took them from the element's folder, too.
    """
    static = folder / "static"
    if not static.is_dir():
        return
    files = sorted(path for path in static.rglob("*") if path.is_file() and not path.is_symlink())
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in files}
    umask = 0o777 & ~stat.S_IMODE(folder.stat().st_mode)
    for path, mode in modes.items():
        left = (0o777 if mode & stat.S_IXUSR else 0o666) & ~umask
        if mode not in (normal(mode), left):
            name = f"{folder.name}/{path.relative_to(folder)}"
            yield f"{name} has the mode {mode:04o}, and builds see {normal(mode):04o}: let a hook set it"
