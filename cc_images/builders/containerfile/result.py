"""The image that buildah has made, as one of ours.

Layers that buildah has added are written again, so that they are the same for the same files; those of the image that
it started from stay byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import convert

from cc_images.builders.containerfile.numbers import numbered
from cc_images.builders.containerfile.sections import OWN
from cc_images.builders.containerfile.spec import ContainerfileSpec
from cc_images.errors import CCImagesError, Reason
from cc_images.host.containers import archive
from cc_images.host.containers import image as oci
from cc_images.host.containers.layer import MOST_LAYERS, MOST_PARTS, write_parts
from cc_images.model.container import Configuration
from cc_images.store.run_context import TaskContext

PLACEHOLDERS = frozenset({"run/cc-images", "run/secrets"})
"""Folders that buildah leaves in a layer where it has shown something; so may be files of no size in /etc."""

LOGS = frozenset({"var/log/dpkg.log", "var/log/alternatives.log", "var/cache/ldconfig/aux-cache"})
"""Files that say when something was built, and nothing else that anybody needs."""

Variables = Callable[[Mapping[str, str]], Mapping[str, str]]
"""Completes the variables of an image's configuration, once its commands have run."""

BUILDAHS = ("io.buildah.version",)
"""Labels that tell of the program, and not of the image."""


def written(
    spec: ContainerfileSpec,
    layout: Path,
    base: archive.Image | None,
    workspace: Path,
    context: TaskContext,
    completed: Variables,
) -> Path:
    """Return the archive of the image: the layers of its base as they are, those that are new as we write them."""
    made = archive.read(layout)
    kept = base.layers if base is not None else ()
    if [each.diff_id for each in made.layers[: len(kept)]] != [each.diff_id for each in kept]:
        raise CCImagesError("buildah has changed the layers of the image that it started from", reason=Reason.NO_RESULT)
    wanted = convert(spec.said, Configuration)
    new = made.layers[len(kept) :]
    most = max(0, min(MOST_PARTS, MOST_LAYERS - len(made.layers)))
    layers = [*kept, *_new(new, spec, workspace, context, most)]
    target = workspace / "image.oci.tar"
    said = _said(made.config, wanted, spec, completed)
    if spec.before is not None:
        said = numbered(said, layers, spec.before)
    oci.write_image(target, layers, said, said["config"].get("Labels", {}), context.stop)
    return target


def _new(
    layers: Sequence[archive.Layer], spec: ContainerfileSpec, workspace: Path, context: TaskContext, most: int
) -> Iterator[archive.Layer]:
    """Yield layers as we write them, without those that have nothing in them."""
    compression = convert(spec.said, Configuration).compression
    plain = workspace / "layer"
    for each in layers:
        for number in write_parts(each.piece.path, plain, context.stop, PLACEHOLDERS | LOGS, spec.apart, most):
            packed = workspace / f"{each.piece.path.name}-{number}.gz"
            yield oci.packed(plain, packed, context.stop, context.log, compression=compression)
    plain.unlink(missing_ok=True)


def _said(
    found: Mapping[str, Any], wanted: Configuration, spec: ContainerfileSpec, completed: Variables
) -> dict[str, Any]:
    """Return the configuration: what the file says, and what the catalogue says over that."""
    ours = oci.config_of(wanted, spec.arch)
    theirs = dict(found.get("config") or {})
    labels = {name: value for name, value in (theirs.get("Labels") or {}).items() if name not in BUILDAHS}
    variables = dict(completed(dict(each.partition("=")[::2] for each in theirs.get("Env") or ())))
    mine = dict(ours["config"])
    mine["Env"] = [f"{name}={value}" for name, value in (variables | dict(wanted.environment)).items()]
    mine["Labels"] = {name: value for name, value in (labels | dict(wanted.labels)).items() if value or name not in OWN}
    both = {name: value for name, value in {**theirs, **mine}.items() if value}
    return {**ours, "config": both}
