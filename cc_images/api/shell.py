"""A shell in a copy of an image's layer, on the user's terminal."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence

from cc_images.api.inspect import Bench, looking, one_of
from cc_images.builders.dib.build import networked
from cc_images.config.loader import Config
from cc_images.errors import Reason, UserError
from cc_images.host import root, terminal, user_emulation
from cc_images.host.root import TOOLBOX
from cc_images.host.sandbox import Sandbox
from cc_images.model.catalog import Arch


def shell(config: Config, tag: str, arches: Sequence[Arch], *, bench: Bench) -> None:
    """Open a shell in the newest layer of an image: its finished root tree, from which its children start.

    What is changed there is gone afterwards. Raises UserError for an image without a stored layer, and what a sandbox
    raises.
    """
    image, arch = one_of(config, tag, arches)
    root.require_root()
    with looking(config, bench) as (store, run, stop):
        layer = next(iter(store.layers(image.tag, arch)), None)
        if layer is None:
            raise UserError(
                f"the store has no layer of {image.tag} for {arch}",
                hint="a build of one of its children makes one; `cc-images boot` shows the image itself",
                reason=Reason.NEVER_BUILT,
            )
        file = run.use(store.blobs.path(layer.digest))
        foreign = user_emulation.is_foreign(arch)
        sandbox = Sandbox(
            workspace=run.workspace(image.tag, arch),
            guards=run.work / "guards",
            visible=(file,),
            interpreter=user_emulation.registration(arch) if foreign else None,
            **networked(image.network, config.network),
        )
        socket = sandbox.out / "shell.sock"
        title = f"{image.tag} {arch} {layer.run}"
        words = [sys.executable, str(sandbox.place(TOOLBOX) / "shells.py"), str(sandbox.place(socket))]
        with terminal.lent(socket), open(os.devnull, "wb") as log:
            sandbox.run(
                [*words, "--tree", str(sandbox.place(file)), title], dict(config.network), log=log,
                timeout=math.inf, stop=stop, on_line=lambda line: None,
            )  # fmt: skip
