"""The other side of the comparisons: one plain `disk-image-create` run with its default options.

It runs in a sandbox of cc-images, because a machine without device-mapper and FAT needs the toolbox's mounts, and
because a build by hand would leave its traces on the host; but with dib's own qemu-img call, its own tmpfs, its default
element `base`, no element of cc-images, no layer and no cache.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from cc_images.builders.dib.elements import Elements, own_elements
from cc_images.host import user_emulation
from cc_images.host.root import remove
from cc_images.host.sandbox import Sandbox
from cc_images.model.catalog import Arch

REPOSITORY = Path(__file__).parent.parent


def plain(
    out: Path,
    elements: Sequence[str],
    packages: Sequence[str],
    folders: Sequence[Path],
    options: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    arch: Arch = Arch.AMD64,
) -> None:
    """Build one image as `<out>.qcow2` from nothing; `options` are more words for disk-image-create.

    QEMU runs the programs of another architecture than this host's.
    """
    workspace = Path(tempfile.mkdtemp(dir=out.parent))
    sandbox = Sandbox(
        workspace=workspace,
        guards=workspace / "guards",
        visible=(*folders,),
        behind=tuple(Elements((*folders, own_elements())).behind_links(elements)),
        tmpfs_mib=8 << 10,
        cores=1,
        interpreter=user_emulation.registration(arch) if user_emulation.is_foreign(arch) else None,
    )
    variables = {
        **{name: value for name, value in os.environ.items() if name.startswith("DIB_")},
        "ELEMENTS_PATH": ":".join(map(str, (*folders, own_elements()))),
        "CC_IMAGES_TREE": "",
        "CC_IMAGES_PLAIN": "1",
        "DIB_PYTHON_EXEC": sys.executable,
        **environment,
    }
    argv = ["disk-image-create", "-a", arch, *options, "-o", str(sandbox.place(sandbox.out) / "image")]
    if packages:
        argv += ["-p", ",".join(packages)]
    with (workspace / "log").open("wb") as log:
        sandbox.run([*argv, *elements], variables, log=log, timeout=14400, stop=threading.Event(),
                    on_line=lambda line: None)  # fmt: skip
    (sandbox.out / "image.qcow2").rename(out.with_suffix(".qcow2"))
    shutil.copy(workspace / "log", out.with_suffix(".log"))
    remove(workspace)


if __name__ == "__main__":
    target, names, extra, wanted, *places = sys.argv[1:]
    more = [word for word in extra.split(",") if word]
    plain(Path(target), names.split(","), more, [Path(place) for place in places], arch=Arch(wanted))
