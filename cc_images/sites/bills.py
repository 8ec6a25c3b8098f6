"""Bills of materials beside the images of a folder: `<Name>.cdx.json` and `<Name>.spdx.json`.

    .bills/<sha256>      each bill once
    <Name>.cdx.json      a hard link to the one that `<Name>.json`, the description of the image, names as its own

An image changes its name by several renames, and its description goes with it. So nothing is renamed here: after each
change of the folder the links are made to agree with the descriptions, also with those that a killed push has left. A
file that is no link to one of ours, and no copy of one that a description names, is a person's and stays.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cc_images.host import record_files
from cc_images.host.files import file_digest, write_bytes
from cc_images.model import site_shapes
from cc_images.model.bill_forms import FORMS

POOL = ".bills"

ENDINGS = tuple(f".{ending}.json" for ending in FORMS.values())


def added(folder: Path, bills: Mapping[str, str]) -> dict[str, str]:
    """Write bills into a folder's pool, and return the digest of each by its form. Raises OSError."""
    pool, found = folder / POOL, dict[str, str]()
    for form, text in bills.items():
        found[form] = hashlib.sha256(text.encode()).hexdigest()
        if not (pool / found[form]).exists():
            write_bytes(pool / found[form], text.encode())
        (pool / found[form]).chmod(0o644)
        pool.chmod(0o755)
    return found


def written(folder: Path, name: str, bills: Mapping[str, str]) -> str:
    """Write the bills of an image that has a folder of its own; return their lines of SHA256SUMS. Raises OSError."""
    lines = ""
    for form, text in sorted(bills.items()):
        file = folder / f"{name}.{FORMS[form]}.json"
        write_bytes(file, text.encode())
        file.chmod(0o644)
        lines += f"{hashlib.sha256(text.encode()).hexdigest()}  {file.name}\n"
    return lines


def arrange(folder: Path) -> None:
    """Let each image have its own bills beside it, and remove those of images that are gone. Raises OSError."""
    pool = folder / POOL
    if not pool.is_dir():
        return
    wanted, named = dict[Path, str](), set[str]()
    for description, form, digest in _described(folder):
        named.add(digest)
        if not description.name.startswith("."):  # that of an upload
            wanted[folder / f"{description.name.removesuffix('.json')}.{FORMS[form]}.json"] = digest
    theirs = _theirs(_links(folder), pool, wanted, named)
    for link in sorted({*wanted, *_links(folder)} - theirs):
        source = pool / wanted.get(link, "")
        if link not in wanted:
            link.unlink()
        elif source.exists() and not (link.exists() and link.samefile(source)):
            staged = pool / f"{link.name}.new"
            staged.unlink(missing_ok=True)
            os.link(source, staged)
            staged.rename(link)
    for each in pool.iterdir():
        if each.name not in named:
            each.unlink(missing_ok=True)


def _theirs(links: Sequence[Path], pool: Path, wanted: Container[Path], named: Container[str]) -> set[Path]:
    """Return the files that are not ours. A copy beside an image is, as in a copied folder, and the pool gets it."""
    inodes = {each.stat().st_ino for each in pool.iterdir()}
    found = set()
    for link in links:
        if link.exists() and link.stat().st_ino in inodes:
            continue
        digest = file_digest(link) if link.is_file() else ""
        if digest not in named or link not in wanted:
            found.add(link)
        elif not (pool / digest).exists():
            os.link(link, pool / digest)
    return found


def _described(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield each description of a folder's images with the form and the digest of each of its bills."""
    for name in sorted(os.listdir(folder)):
        if name.endswith(".json") and not name.endswith(ENDINGS):
            with suppress(OSError, record_files.Damaged, record_files.Newer):
                said = record_files.load(folder / name, site_shapes.SidecarShape)
                for form, digest in said.get("bills", {}).items():
                    if form in FORMS:
                        yield folder / name, form, digest


def _links(folder: Path) -> list[Path]:
    return [folder / name for name in os.listdir(folder) if name.endswith(ENDINGS) and not name.startswith(".")]
