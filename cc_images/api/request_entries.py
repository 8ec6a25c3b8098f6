"""Entries of the catalogue for requested images, and the contexts that they are built from.

Without a Spack part they are two images from Containerfiles: one with the packages of apt, which are the same for all
machines with one MPI and base, and the step's, which starts from it. With one it is an image of Spack's builder.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from cc_images.api.workflows import Description
from cc_images.builders.containerfile import context, steps
from cc_images.builders.spack.folder import write
from cc_images.config.container_parts import SPACKS
from cc_images.config.loader import Config
from cc_images.config.steps import FILES
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import CONTAINERS, Format, Image, Json
from cc_images.model.machine import USUAL_BASE, USUAL_BUILDER, Machine
from cc_images.model.request import LATEST, ImageRequest

REVISION = "org.opencontainers.image.revision"

CUDA = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
"""Variables by which engines show a GPU to a container."""

README = "README.md"
EPILOGUE, ENVIRONMENT = "Containerfile.epilogue", "spack.yaml"


def _look_for_images(asked: ImageRequest, config: Config, needs_base: bool) -> None:
    """Look for the images that a machine names, though the step may do without. Raises UserError with file and key."""
    machine = asked.machine
    for key, tag, usual in (("base", machine.base, USUAL_BASE), ("spack-builder", machine.builder, USUAL_BUILDER)):
        why = _why_not(config.images.get(tag), machine)
        if not why or (tag == usual and not (needs_base and key == "base")):
            continue
        place = f"machines.yaml: {machine.name}" if machine.name else f"{asked.file}: machine"
        default = ", the default," if tag == usual else ""
        what = "name another image" if default else f"correct it, or leave it out, which means {usual}"
        raise UserError(
            f"{place}.{key}: {tag}{default} {why}",
            hint=f"{what}; `cc-images bases` shows what there is",
            reason=Reason.UNKNOWN_IMAGE,
        )


def _why_not(image: Image | None, machine: Machine) -> str:
    """Return why containers for a machine cannot be made with an image; empty: they can."""
    if image is None:
        return "is not in the catalogue"
    if image.abstract or not {*CONTAINERS} & {*image.formats}:
        return "is no container: its formats have neither oci nor sif"
    return "" if machine.arch in image.arches else f"is not made for {machine.arch}"


def entries(asked: ImageRequest, found: Description, config: Config, made: Path) -> list[Image]:
    """Write the contexts of a request, and return the entries: parents first, the image itself last."""
    step, machine = found.step, asked.machine
    _look_for_images(asked, config, needs_base=not step.is_of_spack)
    base = config.images[machine.base] if not step.is_of_spack else None
    release = _release(base, config)
    installed = steps.install(steps.packages_of(step, machine, release))
    has_interpreter = step.has_script and (found.folder / steps.SCRIPT).read_bytes()[:2] == b"#!"
    rest = steps.rest(step, machine, release, has_interpreter)
    folder = made / "step"
    _write_files(found, folder)
    image = _image(asked, found, folder)
    if base is None:
        parents = _spack_parents(asked, config)
        return [replace(_of_spack(asked, found, image, installed + rest, folder), depends=parents)]
    above: list[Image] = []
    if installed:
        text = f"FROM {base.tag}\n{installed}"
        (made / "packages").mkdir()
        (made / "packages" / context.FILES[0]).write_text(text)
        above = [_packages(asked, base, text, made / "packages")]
    start = (*above, base)[0].tag
    (folder / context.FILES[0]).write_text(f"FROM {start}\n{rest}")
    return [*above, replace(image, depends=(start,))]


def _of_spack(asked: ImageRequest, found: Description, image: Image, epilogue: str, folder: Path) -> Image:
    """Write what Spack's builder reads, and return the entry: the machine's processor, MPI and GPU join the specs."""
    if not found.step.has_environment:
        (folder / ENVIRONMENT).write_text(json.dumps({"spack": {"specs": found.step.specs}}) + "\n")
    write(folder, {EPILOGUE: epilogue})
    machine = asked.machine
    added = {"target": machine.target, "mpi": str(machine.mpi or ""), "gpu": str(machine.gpu or "")}
    said: Json = {"context": str(folder), "machine": {name: value for name, value in added.items() if value}}
    return replace(image, builder="spack", containerfile=said)


def _spack_parents(asked: ImageRequest, config: Config) -> tuple[str, str]:
    """Return the image that a result of Spack starts from, and the one that it is built in. Raises UserError."""
    found = (SPACKS[1], asked.machine.builder)
    for tag in found:
        if tag not in config.images or asked.machine.arch not in config.images[tag].arches:
            raise UserError(
                f"a Spack part needs {tag} for {asked.machine.arch}, which the catalogue does not have",
                hint="add it to images.yaml, or say `spack-builder:` of the machine",
                reason=Reason.UNKNOWN_IMAGE,
            )
    return found


def _release(base: Image | None, config: Config) -> str:
    """Return the release of a distribution that an image is made of; "" where nothing says it."""
    lineage = config.lineage(base) if base else ()
    return next((found for each in reversed(lineage) if (found := each.environment.get("DIB_RELEASE"))), "")


def _write_files(found: Description, folder: Path) -> None:
    """Copy a step's folder to where commands of the build need it; an environment may name other files of it."""
    step = found.step
    if step.has_environment:
        _copy(found, folder)
    folder.mkdir(exist_ok=True)
    if step.has_script or step.has_requirements or step.pip:
        if os.path.lexists(folder / steps.FILES):
            raise UserError(f"the step has {steps.FILES}, which builds have", hint="rename it", reason=Reason.VALUE)
        _copy(found, folder / steps.FILES)
    if step.has_script:
        (folder / steps.FILES / steps.SCRIPT).chmod(0o755)
    if step.pip:
        write(folder / steps.FILES, {steps.LISTED: "".join(f"{each}\n" for each in step.pip)})
    if found.folder != Path() and (found.folder / README).is_file():
        (folder / README).write_bytes((found.folder / README).read_bytes())


def _copy(found: Description, target: Path) -> None:
    """Copy a step's folder. Raises UserError where its ignore file leaves out what describes it."""
    context.copied(found.entries, target)
    for name in FILES:
        if (found.folder / name).is_file() and not (target / name).is_file():
            raise UserError(
                f"{name} of the step is left out by its ignore file", hint="take it out of that", reason=Reason.VALUE
            )


def _packages(asked: ImageRequest, base: Image, text: str, folder: Path) -> Image:
    """Return the entry of the packages: what is in it names it."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Image(
        name=f"{base.tag[:60]}-packages-{digest}",
        arches=(asked.machine.arch,),
        depends=(base.tag,),
        disk=(),
        formats=(Format.OCI,),
        firmware=(),
        builder="containerfile",
        containerfile={"context": str(folder)},
    )


def _image(asked: ImageRequest, found: Description, folder: Path) -> Image:
    """Return the entry of the image itself, without name and parents."""
    machine = asked.machine
    labels = {
        "workflow": asked.workflow,
        "step": asked.step,
        "platform": machine.platform,
        "architecture": machine.target,
        "mpi": str(machine.mpi or ""),
        "gpu": str(machine.gpu or ""),
        REVISION: found.commit,
    }
    said: Json = {"labels": {name: value for name, value in labels.items() if value}}
    if machine.gpu and machine.gpu.name == "cuda":
        said["environment"] = CUDA
    return Image(
        name="",
        arches=(machine.arch,),
        disk=(),
        formats=machine.formats,
        firmware=(),
        builder="containerfile",
        containerfile={"context": str(folder)},
        container=said,
        version="" if asked.version == LATEST else asked.tag,
        bump=found.of_branch,
    )
