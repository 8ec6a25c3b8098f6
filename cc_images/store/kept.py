"""Kept trees: one per image and architecture, of a build that failed or was to stop, for a person to look at.

    kept/<tag>/<arch>/<run>.tar.zst   the packed tree, mode 0600: it has what hooks were given, and that may be secret
    kept/<tag>/<arch>/<run>.json      its record, written last

No build, layer or site ever starts from one. A newer tree replaces an older one; a tree without a record is a stray.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from cc_images.host import record_files
from cc_images.host.files import clear_errors, flush_folder, write_json
from cc_images.model.catalog import Arch
from cc_images.model.kept import Kept
from cc_images.model.record_shapes import KeptShape

PACKED = ".tar.zst"


def place(root: Path, kept: Kept, packed: Path) -> None:
    """Move a packed tree into the store, and remove older ones. Raises CCImagesError when that is not possible."""
    record = record_path(root, kept)
    with clear_errors(root):
        record.parent.mkdir(parents=True, exist_ok=True)
        packed.chmod(0o600)
        with packed.open("rb") as file:
            os.fsync(file.fileno())
        packed.rename(packed_path(record))
        flush_folder(record.parent)
        write_json(record, record_files.encoded(KeptShape, asdict(kept), record))
        for path in record.parent.glob("2*"):
            if _run_of(path) < kept.run:
                path.unlink(missing_ok=True)


def newest(root: Path, tag: str, arch: Arch) -> Kept | None:
    """Return the newest kept tree of an image, if there is one."""
    return next((kept for kept in all_of(root, tag, arch) if kept is not None), None)


def all_of(root: Path, tag: str, arch: Arch) -> Iterator[Kept | None]:
    """Yield what is kept of an image, newest first; None for a record that a newer cc-images wrote."""
    for path in sorted(root.joinpath("kept", tag, arch).glob("2*.json"), reverse=True):
        try:
            found = _load(path)
        except record_files.Newer:
            yield None
        except record_files.Damaged as error:
            record_files.set_aside(path, root, str(error))
        except OSError:
            continue
        else:
            if packed_path(path).is_file():
                yield found


def _load(path: Path) -> Kept:
    plain = record_files.load(path, KeptShape)
    if (plain["tag"], plain["arch"], plain["run"]) != (path.parts[-3], path.parts[-2], path.stem):
        raise record_files.Damaged(f"it records {plain['tag']} {plain['arch']} {plain['run']}")
    known = {name: plain[name] for name in KeptShape.__struct_fields__}
    return Kept(**known | {"arch": Arch(plain["arch"])})


def forget(root: Path, tag: str, arch: Arch, task: str = "") -> None:
    """Remove what is kept of an image: all, or what a task of this name has left."""
    for kept in all_of(root, tag, arch):
        if kept is not None and task in ("", kept.task):
            remove(record_path(root, kept))


def remove(record: Path) -> int:
    """Remove a record and its tree; return the bytes that frees."""
    packed, size = packed_path(record), 0
    with suppress(OSError):
        size = packed.stat().st_size
        record.unlink(missing_ok=True)
        packed.unlink()
    return size


def record_path(root: Path, kept: Kept) -> Path:
    """Return the file of a tree's record."""
    return root / "kept" / kept.tag / kept.arch / f"{kept.run}.json"


def packed_path(record: Path) -> Path:
    """Return the file of the tree that a record describes."""
    return record.with_name(f"{record.stem}{PACKED}")


def _run_of(path: Path) -> str:
    return path.name.removesuffix(PACKED).removesuffix(".json")
