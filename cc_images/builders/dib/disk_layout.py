"""A disk's layout, as dib's block-device elements have it: which programs of this host it takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cc_images.builders.dib.elements import Elements
from cc_images.config.yaml_text import plain
from cc_images.host.root import SYSTEM_PATH

PACKAGES: Mapping[str, str] = {
    "gpg": "gnupg",
    "mkfs.ext2": "e2fsprogs",
    "mkfs.ext3": "e2fsprogs",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.f2fs": "f2fs-tools",
    "mkfs.vfat": "dosfstools",
    "mkswap": "util-linux",
    "pvcreate": "lvm2",
    "sgdisk": "gdisk",
}
"""The package of Debian and Ubuntu that has a program."""

DEFAULTS = "block-device-default.yaml"
"""The file of an element that has its layout; rule: dib's block_device_create_config_file."""


LAYOUT_VARIABLES = ("DIB_BLOCK_DEVICE_CONFIG", "FS_TYPE")
"""Variables that say which layout a build uses, and its root file system."""


def programs(
    elements: Elements, used: Iterable[str], said: str | None = None, kind: str | None = None
) -> tuple[str, ...]:
    """Return the programs that a build's layout takes; none where it cannot be read.

    `said` and `kind` are the values of LAYOUT_VARIABLES; without `said` the layout is that of an element in use.
    """
    found: dict[str, None] = {}
    with suppress(OSError, ValueError, RecursionError):
        found.update(dict.fromkeys(_in(layout(elements, used, said))))
    if kind:
        found[_mkfs(kind)] = None
    return tuple(sorted(found))


def layout(elements: Elements, used: Iterable[str], said: str | None = None) -> Any:
    """Return a build's layout, as its YAML has it. Raises OSError, ValueError or RecursionError."""
    return plain(_text(elements, used, said or ""))


def lacking(wanted: Iterable[str], path: Sequence[str] = SYSTEM_PATH) -> list[str]:
    """Return which of the programs this host lacks, each with its package."""
    search = ":".join(path)
    missing = [each for each in wanted if shutil.which(each, path=search) is None]
    return [f"{each} (package {PACKAGES[each]})" if each in PACKAGES else each for each in missing]


def _text(elements: Elements, used: Iterable[str], said: str) -> str:
    if said.startswith("file://"):
        return Path(said.removeprefix("file://")).read_text()
    if said:
        return said
    files = [elements.path(name) / DEFAULTS for name in used]
    return "".join(file.read_text() for file in files if file.is_file())


def _in(layout: Any) -> Iterator[str]:
    """Yield the programs that a part of a layout takes."""
    if isinstance(layout, list):
        for each in layout:
            yield from _in(each)
    if not isinstance(layout, dict):
        return
    if "lvm" in layout:
        yield "pvcreate"
    if layout.get("label") == "gpt":
        yield "sgdisk"
    if "mkfs" in layout:
        made = layout["mkfs"]
        kind = made.get("type") if isinstance(made, dict) else None
        yield _mkfs(str(kind or "ext4"))
    for each in layout.values():
        yield from _in(each)


def _mkfs(kind: str) -> str:
    return "mkswap" if kind == "swap" else f"mkfs.{kind}"
