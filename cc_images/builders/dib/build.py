"""One build by dib, for a disk or a tree: its inputs, one run in a sandbox, and its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cc_images.builders import provenance
from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.dib import command, twins, watching
from cc_images.builders.dib.command import Made
from cc_images.builders.dib.element_modes import copy_normal, is_normal
from cc_images.builders.dib.elements import Elements, with_layout
from cc_images.builders.dib.layers import LAYER_ELEMENT, inherit, write_element
from cc_images.builders.dib.spec import DibSpec
from cc_images.builders.dib.watching import Watch
from cc_images.builders.downloads import held, keep
from cc_images.errors import CCImagesError
from cc_images.host import network, user_emulation
from cc_images.host.named_files import named_files
from cc_images.host.root import TOOLBOX
from cc_images.host.sandbox import Sandbox
from cc_images.model.catalog import Material
from cc_images.model.recipe import merged
from cc_images.model.spec import BuildSpec
from cc_images.sources import upstream
from cc_images.store.run_context import RunContext, TaskContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The start of a build: where its elements are, its layer's file, and the upstream state behind that layer."""

    folders: tuple[Path, ...]
    file: Path | None = None
    upstream: Mapping[str, str] = field(default_factory=dict)


def build(spec: DibSpec, inputs: BuildInputs, context: TaskContext) -> Built:
    """Run dib once. Raises what `command.build` raises, and OSError when the workspace cannot be written to."""
    run = context.run
    artifacts = linked(spec, inputs)
    start = _start(spec, inputs)
    with held(spec, context) as found:
        sandbox = Sandbox(
            workspace=inputs.workspace,
            guards=run.run.work / "guards",
            visible=(*start.folders, *((start.file,) if start.file else ())),
            behind=(*named_files(spec.environment).values(), *artifacts.values(), *_behind(start, spec)),
            hosts=spec.needs_hosts_root,
            tmpfs_mib=context.tmpfs_mib,
            cores=run.settings.cores,
            seeds=tuple(each.path for each in found),
            **networked(spec.network, {**run.network, **spec.environment}),
            **_interpreter(spec, inputs),
        )
        order = _command(spec, inputs, start, run, _placed(spec, artifacts, sandbox), _assembly(spec, inputs, sandbox))
        try:
            file, timings = command.build(order, sandbox, log=context.log, stop=run.stop, report=context.step)
        except CCImagesError:
            if inputs.keep is not None and (tree := watching.left(sandbox)) is not None:
                inputs.keep(tree)
            raise
        finally:
            if sandbox.twins is not None:
                context.log.write(twins.started(sandbox.twins).encode())
        if not inputs.until:
            keep(spec, found, sandbox.out, context)
    return Built(
        file=file,
        parts=command.ramdisk(sandbox.out),
        timings=timings,
        packages=command.packages(file.parent),
        upstream=merged(start.upstream, fetched(spec, inputs.downloads), upstream.seen(sandbox.out)),
        peaks=sandbox.peaks(),
    )


def _command(
    spec: DibSpec,
    inputs: BuildInputs,
    start: Start,
    run: RunContext,
    placed: Mapping[str, str],
    assembly: Mapping[str, str],
) -> command.DibCommand:
    """Return the order to dib. A layer must not know what is not in its recipe, such as its name."""
    tree = spec.makes is Material.TREE
    own = {
        "CC_IMAGES_NAME": spec.name,
        "CC_IMAGES_VERSION": inputs.version,
        "CC_IMAGES_KEY": spec.recipe_key,
    }
    makes = Made.TREE if tree else Made.ASSEMBLED if spec.assembled else Made.DISK
    stated = provenance.completed(spec.environment, inputs.version, lambda: run.settings.origin)
    return command.DibCommand(
        arch=spec.arch,
        elements=(*spec.content, *spec.disk),
        folders=start.folders,
        packages=spec.packages,
        environment={**run.network, **stated, **placed, **({} if tree else own), **assembly},
        timeout=spec.timeout,
        offline=run.settings.offline,
        layer=start.file,
        makes=makes,
        secrets=spec.secrets,
        watch=Watch(shell=run.settings.debug, keep=inputs.keep is not None, until=inputs.until),
    )


def _start(spec: DibSpec, inputs: BuildInputs) -> Start:
    """Return what a build starts from; what is generated for it lies in the workspace.

    Generated are elements whose modes are not those that builds see, and the element that unpacks the layer.
    """
    folders = tuple(map(Path, spec.folders))
    elements = Elements(folders)
    generated = inputs.workspace / "elements"
    generated.mkdir(parents=True)
    start = Start(folders=(generated, *folders))
    wanted = [*with_layout((*spec.content, *spec.disk), spec.arch)]
    if spec.base is not None:
        layer, file = inputs.layers[spec.base.recipe_key]
        write_element(generated / LAYER_ELEMENT, elements, inherit(elements, spec.base.content), TOOLBOX / "layer")
        start = replace(start, file=file, upstream=layer.upstream)
        wanted.insert(0, LAYER_ELEMENT)
    together = Elements(start.folders)
    for name in together.closure(wanted):
        if not is_normal(together.path(name)):
            copy_normal(together.path(name), generated / name)
    return start


def _behind(start: Start, spec: DibSpec) -> list[Path]:
    """Return what the elements of a build are, and have, behind links."""
    layer = [LAYER_ELEMENT] if spec.base is not None else []
    return Elements(start.folders).behind_links([*layer, *with_layout((*spec.content, *spec.disk), spec.arch)])


def _interpreter(spec: DibSpec, inputs: BuildInputs) -> dict[str, Any]:
    """Return what a sandbox needs to run the programs of another architecture; nothing for this host's own."""
    if not user_emulation.is_foreign(spec.arch):
        return {}
    if not spec.twins:
        return {"interpreter": user_emulation.registration(spec.arch)}
    _, file = inputs.layers[spec.twins]
    folder = inputs.workspace / "twins"
    return {"interpreter": user_emulation.registration(spec.arch, twins.unpack(file, folder)), "twins": folder}


def _assembly(spec: DibSpec, inputs: BuildInputs, sandbox: Sandbox) -> dict[str, str]:
    """Return the variables of `toolbox/disk`, and unpack the disk's tools; nothing for what dib makes."""
    if not spec.assembled:
        return {}
    _, file = inputs.layers[spec.disk_tools]
    folder = inputs.workspace / "disk-tools"
    twins.unpack_into(file, folder)
    return {
        "CC_IMAGES_DISK": "/tmp/.cc-images-disk",
        "CC_IMAGES_TOOLS": str(sandbox.place(folder)),
        # exported, so that hooks have what dib sets
        "IMAGE_BLOCK_DEVICE": "",
        "IMAGE_BLOCK_DEVICES": "",
        "MKFS_OPTS": spec.environment.get("MKFS_OPTS", ""),
    }


def networked(wanted: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return which network a sandbox has, by what the image says and the variables name."""
    kind = network.chosen(wanted, variables)
    return {"network": kind, "outlet": network.program() if kind is network.Network.PRIVATE else ""}


# -- downloads -------------------------------------------------------------------------------------------------------


def linked(spec: BuildSpec, inputs: BuildInputs) -> dict[str, Path]:
    """Name the build's artifacts in its workspace by links to their files, which the sandbox sees read-only."""
    places: dict[str, Path] = {}
    for variable, artifact in spec.artifacts.items():
        place = inputs.workspace / "artifacts" / variable / artifact.basename
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(inputs.downloads[variable])
        places[variable] = place
    return places


def _placed(spec: DibSpec, artifacts: Mapping[str, Path], sandbox: Sandbox) -> dict[str, str]:
    """Return the artifacts' variables: paths in the sandbox, or their addresses."""
    placed = {name: str(sandbox.place(path)) for name, path in artifacts.items()}
    return placed | {name: f"file://{placed[name]}" for name, each in spec.artifacts.items() if each.as_url}


def fetched(spec: DibSpec, downloads: Mapping[str, Path]) -> dict[str, str]:
    """Return the digests found at the addresses of artifacts for which the catalog names none."""
    return {
        upstream.shown(artifact.url, "") or f"private:{artifact.shown}": downloads[variable].name
        for variable, artifact in spec.artifacts.items()
        if not artifact.url.startswith("file:") and not artifact.sha256
    }
