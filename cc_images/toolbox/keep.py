"""The tree of a build, packed for a person to look at: as layers are, without what is mounted in it.

In the folder that is named: kept.tar.zst (mode 0600, since hooks may have left secrets), and then kept.json, which says
at which hook that was, or why nothing could be kept. Without root, files that stand for device nodes become nodes (see
`nodes`). The standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

EMPTY = {"tmp", "lost+found"}
"""What is in a folder that has no tree, or no tree any more."""

PACK = """\
set -eu -o pipefail
umask 077
nodes() {
    if [ -n "$CC_IMAGES_ROOTLESS" ]; then "$CC_IMAGES_PYTHON" -I "$CC_IMAGES_TOOLBOX/nodes.py" pack; else cat; fi
}
packed() {
    "$CC_IMAGES_TAR" -C "$plain" --numeric-owner --acls --xattrs --xattrs-include='*' --format=posix --anchored \\
        --exclude='./tmp/cc-debug.*' -cf - . || [ $? -eq 1 ]
}
plain=$(mktemp -d)
"$CC_IMAGES_MOUNT" --bind "$0" "$plain"
trap '"$CC_IMAGES_UMOUNT" "$plain"; rmdir "$plain"' EXIT
packed | nodes | zstd -q -3 "-T$CC_IMAGES_CORES" -f -o "$1"
"""
"""tar ends with 1 for files that change while it reads them."""


def keep(folder: Path, build: Path, said: dict[str, Any]) -> None:
    """Pack the tree of a build into a folder, and say there what `said` has, or that it was not possible."""
    file = folder / "kept.tar.zst"
    packed = subprocess.run(["bash", "-c", PACK, str(tree_of(build)), str(file)], capture_output=True, text=True)
    if packed.returncode != 0:
        file.unlink(missing_ok=True)
        said |= {"trouble": (packed.stderr.strip().splitlines() or ["it cannot be packed"])[-1]}
    staged = folder / "kept.json.new"
    staged.write_text(json.dumps(said))
    staged.rename(folder / "kept.json")


def tree_of(build: Path) -> Path:
    """Return where the tree of a build is: dib moves it to `built` and back."""
    places = [place for place in (build / "mnt", build / "built") if place.is_dir()]
    return next((place for place in places if set(os.listdir(place)) - EMPTY), places[0] if places else build / "mnt")
