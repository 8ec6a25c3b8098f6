"""A shell in a copy of an image's layer, or of the tree that an unfinished build has left, on the user's terminal."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cc_images.api.inspect import Bench, looking, one_of
from cc_images.builders.dib.build import networked
from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import root, terminal, user_emulation
from cc_images.host.containers.archive import flatten
from cc_images.host.root import TOOLBOX
from cc_images.host.sandbox import Sandbox
from cc_images.model.builds import Layer
from cc_images.model.catalog import Arch, Format
from cc_images.model.kept import Kept
from cc_images.outputs.tree import held
from cc_images.store import kept as kept_trees
from cc_images.store.records import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """How a person looks at a tree: the kept one instead of the layer, and so that nothing can be written."""

    kept: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A packed tree: its file, its name for people, and what they are told."""

    file: Path
    title: str
    said: str


def shell(config: Config, tag: str, arches: Sequence[Arch], visit: Visit, *, bench: Bench) -> None:
    """Open a shell in the newest layer of an image, from which its children start, or in its kept tree.

    What is changed there is gone afterwards. Raises UserError for an image without such a tree, and what a sandbox
    raises.
    """
    image, arch = one_of(config, tag, arches)
    root.require_root()
    with looking(config, bench) as (store, run, stop):
        tree = _tree(store, image.tag, arch, visit)
        file = run.use(tree.file)
        if held(file) is Format.OCI:
            flatten(file, flat := run.work / "tree.tar.zst", stop)
            file = flat
        foreign = user_emulation.is_foreign(arch)
        sandbox = Sandbox(
            workspace=run.workspace(image.tag, arch),
            guards=run.work / "guards",
            visible=(file,),
            interpreter=user_emulation.registration(arch) if foreign else None,
            **networked(image.network, config.network),
        )
        socket = sandbox.out / "shell.sock"
        words = [sys.executable, str(sandbox.place(TOOLBOX) / "shells.py"), str(sandbox.place(socket))]
        words += ["--read-only"] if visit.read_only else []
        with terminal.lent(socket), open(os.devnull, "wb") as log:
            sandbox.run(
                [*words, str(sandbox.place(file)), tree.title, tree.said], dict(config.network), log=log,
                timeout=math.inf, stop=stop, on_line=lambda line: None,
            )  # fmt: skip


def _tree(store: Store, tag: str, arch: Arch, visit: Visit) -> Tree:
    """Return the tree to open. Raises CCImagesError for one that is another user's."""
    kept = kept_trees.newest(store.root, tag, arch)
    found = chosen(tag, arch, _layer(store, tag, arch), kept, visit)
    if isinstance(found, Layer):
        file, title = store.blobs.path(found.digest), f"{tag} {arch} {found.run}"
        more = f"; a tree is kept, too ({kept.why}): --kept" if kept is not None else ""
    else:
        file = kept_trees.packed_path(kept_trees.record_path(store.root, found))
        title, more = f"{tag} {arch} {found.run} (kept)", f"; {found.why}"
        if not os.access(file, os.R_OK):
            raise CCImagesError(
                f"{file} is another user's, and only that user reads it: it may have secrets",
                hint=f"build yourself: cc-images -b --keep-failed {tag}",
                reason=Reason.FORBIDDEN,
            )
    fate = "nothing can be written" if visit.read_only else "what you change is gone when you leave"
    return Tree(file=file, title=title, said=f"a copy of {title}: {fate}{more}")


def _layer(store: Store, tag: str, arch: Arch) -> Layer | None:
    """Return the newest layer of an image; one for containers is a layer itself, since others start from it."""
    if (layer := next(iter(store.layers(tag, arch)), None)) is not None:
        return layer
    build = next(iter(store.builds(tag, arch)), None)
    if build is None or (image := build.outputs.get(Format.OCI)) is None:
        return None
    return Layer(
        tag=tag,
        arch=arch,
        run=build.version,
        recipe_key=build.recipe_key,
        key=build.key,
        digest=image.digest,
        size=image.size,
        upstream=build.upstream,
    )


def chosen(tag: str, arch: Arch, layer: Layer | None, kept: Kept | None, visit: Visit) -> Layer | Kept:
    """Return what is opened: the layer, unless the kept tree is asked for. Raises UserError when that is not there."""
    if visit.kept:
        if kept is None:
            raise UserError(
                f"no tree of {tag} for {arch} is kept",
                hint=f"`cc-images -b --keep-failed {tag}` keeps what a failing hook leaves, --until PHASE stops there",
                reason=Reason.NOT_KEPT,
            )
        return kept
    if layer is not None:
        return layer
    if kept is not None:
        raise UserError(
            f"the store has no layer of {tag} for {arch}, but a tree is kept ({kept.why})",
            hint=f"`cc-images shell -a {arch} {tag} --kept` opens it",
            reason=Reason.NEVER_BUILT,
        )
    raise UserError(
        f"the store has no layer of {tag} for {arch}",
        hint="a build of one of its children makes one; `cc-images boot` shows the image itself",
        reason=Reason.NEVER_BUILT,
    )
