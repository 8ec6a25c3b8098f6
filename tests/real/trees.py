"""The tree inside a disk image as plain data, for comparisons: run as a program in a mount namespace of its own."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

Tree = dict[str, dict[str, Any]]


def snapshot(disk: Path, folder: Path) -> Tree:
    """Return what the largest partition of a disk image has: path → mode, owners, attributes, content's digest."""
    raw = folder / f"{disk.stem}.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    program = [sys.executable, __file__, str(raw), str(folder / "mnt")]
    said = subprocess.run(["unshare", "--mount", "--propagation", "private", *program], check=True, capture_output=True)
    raw.unlink()
    tree: Tree = json.loads(said.stdout)
    return tree


def partitions(disk: Path) -> list[tuple[str, str, int, int]]:
    """Return name, type, start and size in sectors of each partition of a disk image."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
        said = json.loads(subprocess.run(["sfdisk", "-J", raw], check=True, capture_output=True).stdout)
    return [
        (each.get("name", ""), each["type"], each["start"], each["size"])
        for each in said["partitiontable"]["partitions"]
    ]


def mounted(raw: str, place: str) -> None:
    """Mount the largest partition read-only and print its tree as JSON."""
    table = json.loads(subprocess.run(["sfdisk", "-J", raw], check=True, capture_output=True).stdout)
    largest = max(table["partitiontable"]["partitions"], key=lambda partition: partition["size"])
    os.makedirs(place, exist_ok=True)
    options = f"ro,noload,loop,offset={largest['start'] * 512},sizelimit={largest['size'] * 512}"
    subprocess.run(["mount", "-o", options, raw, place], check=True)
    json.dump({name: entry(Path(place, name)) for name in names(place)}, sys.stdout)
    subprocess.run(["umount", place], check=True)


def names(place: str) -> list[str]:
    found = []
    for root, folders, files in os.walk(place):
        found += [os.path.relpath(os.path.join(root, name), place) for name in [*folders, *files]]
    return sorted(found)


def machine(path: Path) -> int:
    """Return for which machine a program or library is: e_machine of its ELF header, or 0 for other files."""
    with path.open("rb") as file:
        header = file.read(20)
    return int.from_bytes(header[18:20], "little") if header.startswith(b"\x7fELF") and len(header) == 20 else 0


def entry(path: Path) -> dict[str, Any]:
    status = path.lstat()
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(normal(path)).hexdigest()
    elif not stat.S_ISDIR(status.st_mode):
        content = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    attributes = {name: os.getxattr(path, name, follow_symlinks=False).hex()
                  for name in sorted(os.listxattr(path, follow_symlinks=False))}  # fmt: skip
    return {
        "mode": oct(status.st_mode),
        "owner": f"{status.st_uid}:{status.st_gid}",
        "attributes": attributes,
        "machine": machine(path) if stat.S_ISREG(status.st_mode) else 0,
        "content": content,
    }


def normal(path: Path) -> bytes:
    """Return a file's content; of dpkg's list of packages, whose order is that of their installation, sorted."""
    content = path.read_bytes()
    return b"\n\n".join(sorted(content.split(b"\n\n"))) if path.match("var/lib/dpkg/status") else content


if __name__ == "__main__":
    mounted(sys.argv[1], sys.argv[2])
