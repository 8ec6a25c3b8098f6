"""The tree in an image, whatever the image is: a disk, whose partitions are mounted, or a tree that is unpacked.

Runs beside `look.py` with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.boottest.inside import disk, trees
else:  # a script has no package
    import disk
    import trees

Facts = dict[str, Any]

TREE = "tree"
"""The format of an image that is no disk."""


@dataclass
class Image:
    """An image whose tree is at `place`, as `root` says; without a root it has no system, for the reasons given."""

    place: Path
    facts: Facts
    raw: str = ""
    """The raw disk, if it is one."""
    partitions: tuple[dict[str, Any], ...] = ()
    root: dict[str, Any] | None = None
    mounted: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def room(self) -> tuple[int, int]:
        """Return the size of the root file system and what is used of it, in bytes."""
        assert self.root is not None
        return disk.room(self.raw, self.root, self.place) if self.raw else (self.root["size"], self.root["size"])


def opened(image: str, image_format: str, folder: str, whole: bool = True) -> Image:
    """Show an image's tree in a new folder, with the disk's other file systems where its fstab wants them.

    `whole`: what else is on the disk is shown, too, at folders that are free.
    """
    os.makedirs(folder)
    place = Path(folder, "root")
    place.mkdir()
    if image_format == TREE:
        return _unpacked(Path(image), place)
    raw = disk.as_raw(Path(image), image_format, Path(folder))
    facts: Facts = {"disk": {"size": os.stat(raw).st_size, "table": "none"}}
    partitions = disk.table(raw, facts)
    troubles: list[str] = []
    root = next((each for each in disk.by_size(partitions) if disk.mounted(raw, each, place, troubles)), None)
    found = Image(place, facts, raw, tuple(partitions), root)
    if root is None:
        facts["trouble"] = "; ".join(["no partition has a Linux root file system that this host can read", *troubles])
        return found
    mounted, unread = disk.mount_others(raw, partitions, root, place, whole)
    found.mounted, found.unread = tuple(mounted), tuple(unread)
    return found


def _unpacked(image: Path, place: Path) -> Image:
    """Return a tree, unpacked; what cannot be unpacked has no system."""
    found = Image(place, {"disk": {"size": 0, "table": "none"}})
    try:
        size, found.facts["layers"] = trees.unpack(image, place)
    except (OSError, ValueError, struct.error) as error:
        found.facts["trouble"] = f"it cannot be unpacked: {error.strerror if isinstance(error, OSError) else error}"
        return found
    found.facts["disk"]["size"] = size
    if os.path.lexists(place / "etc/os-release") or trees.is_container(image):  # a container may be one program
        found.root = {"number": 0, "kind": TREE, "size": size}
    else:
        found.facts["trouble"] = "it holds no Linux system: there is no /etc/os-release"
    return found
