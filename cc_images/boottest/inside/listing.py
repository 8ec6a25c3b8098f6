"""List all that is in a disk image, and the digests of its partitions; write it down as JSON.

    listing.py IMAGE FORMAT FOLDER RESULT

The arguments are those of `look.py`, which says how an image is entered. CC_IMAGES_TAKEN holds a JSON list of paths:
files whose content is put below FOLDER-out/, for a closer look.

Runs as a script with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.boottest.inside.image import opened
    from cc_images.boottest.inside.look import CHUNK, attributes, enter, is_on
else:  # a script has no package
    sys.path.insert(0, str(Path(__file__).parent))
    from image import opened
    from look import CHUNK, attributes, enter, is_on

Facts = dict[str, Any]

INLINE = "system.data"
"""What fuse2fs shows of a file whose content lies in its inode."""

MOST_TAKEN = 1 << 26
"""Bytes of one file that are taken out."""


def main(image: str, disk_format: str, folder: str, result: str) -> None:
    """Write the list."""
    taken = json.loads(os.environ.get("CC_IMAGES_TAKEN", "[]"))
    kept = os.open(result, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    out = os.open(os.path.dirname(result), os.O_RDONLY | os.O_DIRECTORY)
    seen = opened(image, disk_format, folder)
    facts = {name: said for name, said in seen.facts.items() if name != "trouble"}
    facts["partitions"] = regions(seen.raw, seen.partitions) if seen.raw else []
    if seen.root is not None:
        facts["mounted"], facts["unread"] = list(seen.mounted), list(seen.unread)
        enter(seen.place)
        try:
            facts["files"] = dict(sorted(entries(facts["mounted"])))
            for number, path in enumerate(taken):
                take(path, str(number), out)
        except BaseException as error:  # noqa: BLE001 - the image's author decides what is in it
            facts["trouble"] = f"it cannot be read: {type(error).__name__}"
    with os.fdopen(kept, "wb") as file:
        file.write(json.dumps(facts).encode("utf-8", "surrogateescape"))
    os._exit(0)  # nothing that Python does at its end looks for a module in the image


def regions(raw: str, partitions: Sequence[dict[str, Any]]) -> list[Facts]:
    """Return the digest of each partition, and that of what lies before and between them."""
    found, between, position = [], hashlib.sha256(), 0
    for each in sorted(partitions, key=lambda each: each["start"]):
        for chunk in chunks(raw, position, each["start"]):
            between.update(chunk)
        position = each["start"] + each["size"]
        digest = hashlib.sha256()
        for chunk in chunks(raw, each["start"], position):
            digest.update(chunk)
        name = f"partition {each['number']}" + (f" ({each['kind']})" if each["kind"] else "")
        found.append({"name": name, "start": each["start"], "size": each["size"], "digest": digest.hexdigest()})
    for chunk in chunks(raw, position, os.stat(raw).st_size):
        between.update(chunk)
    return [{"name": "partition table and boot code", "digest": between.hexdigest()}, *found]


def chunks(raw: str, begin: int, end: int) -> Iterator[bytes]:
    """Yield a part of a file."""
    with open(raw, "rb") as file:
        file.seek(begin)
        while begin < end and (chunk := file.read(min(CHUNK, end - begin))):
            begin += len(chunk)
            yield chunk


# -- the tree, from here on as / ---------------------------------------------------------------------------------------


def entries(mounted_at: list[str]) -> Iterator[tuple[str, Facts]]:
    """Yield each path with kind and mode, owner, time, attributes, and size and content or a link's target."""
    devices = {os.stat(each).st_dev for each in ("/", *mounted_at)}
    for folder, folders, files in os.walk("/"):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            try:
                yield path, entry(path, os.lstat(path))
            except OSError as error:
                yield path, {"mode": error.strerror or "unreadable"}
        folders[:] = sorted(name for name in folders if is_on(os.path.join(folder, name), devices))


def attribute(path: str, name: str) -> str:
    """Return an attribute in hexadecimal digits; FUSE shows that there are access lists, and not what is in them."""
    try:
        return os.getxattr(path, name, follow_symlinks=False).hex()
    except OSError:
        return "unreadable"


def entry(path: str, status: os.stat_result) -> Facts:
    """Return what is compared of one path."""
    said: Facts = {
        "mode": stat.filemode(status.st_mode),
        "owner": f"{status.st_uid}:{status.st_gid}",
        "time": status.st_mtime_ns,
    }
    if names := attributes(path):
        values = {name: attribute(path, name) for name in sorted(names) if name != INLINE}
        said["attributes"] = " ".join(f"{name}={value}" for name, value in values.items())
    if stat.S_ISREG(status.st_mode):
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        said |= {"size": status.st_size, "content": digest.hexdigest()}
    elif stat.S_ISLNK(status.st_mode):
        said["content"] = os.readlink(path)
    return said


def take(path: str, name: str, out: int) -> None:
    """Copy a regular file into the folder of the result."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return
    with open(path, "rb") as file:
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=out)
        left = MOST_TAKEN
        while left and (chunk := file.read(min(CHUNK, left))):
            os.write(target, chunk)
            left -= len(chunk)
        os.close(target)


if __name__ == "__main__":
    main(*sys.argv[1:5])
