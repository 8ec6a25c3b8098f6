"""Pack the tree in a disk image as a zstd tar, in the order and form in which builds pack trees.

    pack.py IMAGE FORMAT FOLDER RESULT

The arguments are those of `look.py`, which says how an image is entered; the tar is beside RESULT, `tree.tar`. tar runs
outside of the image, and leaves out what is no part of a system: the file systems' own lost+found.

Runs as a script with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cc_images.boottest.inside.image import opened
else:  # a script has no package
    sys.path.insert(0, str(Path(__file__).parent))
    from image import opened

TAR = (
    "tar",
    "--sort=name",
    "--numeric-owner",
    "--acls",
    "--xattrs",
    "--xattrs-include=*",
    "--format=posix",
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
    "--exclude=lost+found",
)


def main(image: str, disk_format: str, folder: str, result: str) -> None:
    """Write the tar, and what was found."""
    seen = opened(image, disk_format, folder, whole=False)
    if seen.unread:
        seen.facts["trouble"] = f"not all of it can be read: {'; '.join(seen.unread)}"
    elif seen.root is not None:
        pack(seen.place, Path(result).with_name("tree.tar"))
    Path(result).write_text(json.dumps(seen.facts))


def pack(place: Path, target: Path) -> None:
    """Pack a folder. Raises CalledProcessError."""
    with target.open("wb") as file:
        tar = subprocess.Popen([*TAR, "-C", str(place), "-cf", "-", "."], stdout=subprocess.PIPE)
        subprocess.run(["zstd", "-q", "-3", "-T0"], stdin=tar.stdout, stdout=file, check=True)
        if code := tar.wait():
            raise subprocess.CalledProcessError(code, tar.args)


if __name__ == "__main__":
    main(*sys.argv[1:5])
