"""One concretization, or one image by a lock: both are builds of a Containerfile that is written for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from cc_images.builders.base import BuildInputs, Built
from cc_images.builders.containerfile import context as contexts
from cc_images.builders.containerfile.build import build as build_containerfile
from cc_images.builders.containerfile.build import linked
from cc_images.builders.containerfile.shown import Shown
from cc_images.builders.containerfile.spec import ContainerfileSpec
from cc_images.builders.spack import folder, generated, noted
from cc_images.builders.spack.cache import Caches
from cc_images.builders.spack.errors import clear_errors
from cc_images.builders.spack.lock import Locked, read
from cc_images.builders.spack.locks import newest, text_in
from cc_images.builders.spack.spec import SpackSpec
from cc_images.config.spack_file import environment_of
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.catalog import Json
from cc_images.model.container import NOTHING_SAID
from cc_images.model.recipe import merged
from cc_images.store.run_context import TaskContext

TARGETS_SHOWN = 5
"""Packages that a message names."""


def build(spec: SpackSpec, inputs: BuildInputs, context: TaskContext) -> Built:
    """Make a lock or an image. Raises CCImagesError when that fails."""
    if inputs.until:
        raise UserError(f"--until {inputs.until}: a Spack image has no phases", reason=Reason.VALUE)
    if spec.own:
        layer, file = inputs.layers[spec.own]
        inputs.workspace.mkdir(parents=True, exist_ok=True)
        packages = context.store.details(layer).get("packages", {})
        return Built(
            file=linked(file, inputs.workspace / "image.oci.tar"), upstream=layer.upstream, packages=dict(packages)
        )
    return _image(spec, inputs, context) if spec.runtime else _lock(spec, inputs, context)


def _lock(spec: SpackSpec, inputs: BuildInputs, context: TaskContext) -> Built:
    """Concretize. A lock beside the spack.yaml is kept; else the one of the last build, as far as specs allow."""
    place = inputs.workspace / "generated"
    own = _copied(spec, place, [*folder.reached(*_read(spec), without_lock=spec.without_lock)])
    before = None if spec.fresh or own else newest(context.store, spec.tag, spec.arch)
    texts = generated.lock_files(spec.manifest, spec.tool, spec.target, previous=before is not None)
    if before is not None:
        texts |= generated.previous_files(before, [each for each, _ in read(before).roots])
    with clear_errors():
        built = build_containerfile(_spec(spec, place, texts), inputs, context)
    text = text_in(built.file)
    locked = read(text, spec.first)
    _require_right(spec, locked)
    _tell(context, f"{len(locked.to_build)} packages are locked; version {locked.version}")
    return replace(built, packages={each.name: each.version for each in locked.to_build})


def _image(spec: SpackSpec, inputs: BuildInputs, context: TaskContext) -> Built:
    """Install what a lock names, and what the build cache lacks compile first; each package goes there at once."""
    locked = read(text := text_in(inputs.layers[spec.lock][1]), spec.first)
    place, drop, made = (inputs.workspace / name for name in ("generated", "drop", "made"))
    for each in (drop, made):
        each.mkdir(parents=True)
    _copied(spec, place, folder.entries(Path(spec.folder)))
    caches = Caches(spec.caches, context.store.root)
    with ExitStack() as stack:
        needed = locked.to_build if locked.installed & _missing(caches, locked) else locked.to_install
        context.step("packages that other builds compile, or other caches have")
        stack.enter_context(caches.wanted(needed, context.stop))
        missing = _missing(caches, locked)
        compiles = bool(locked.installed & missing)
        _tell(context, _counted(locked, missing, compiles))
        stack.enter_context(caches.publishing(drop, locked.to_build, lambda said: _tell(context, said)))
        texts = generated.image_files(
            spec.manifest, text, key=caches.public_key, compiles=compiles, jobs=context.run.settings.cores
        )
        shown = (
            Shown(source=caches.folder, place=generated.CACHE),
            Shown(source=_again(caches.folder), place=generated.ARRIVED),
            Shown(source=drop, place=generated.DROP, writable=True),
            Shown(source=made, place=generated.MADE, writable=True),
        )
        texts["Containerfile"] = generated.image_file(spec.tool, spec.runtime, spec.epilogue)
        stack.enter_context(clear_errors())
        built = build_containerfile(
            _spec(spec, place, texts, locked), inputs, context, shown, lambda present: noted.variables(made, present)
        )
    lock = inputs.layers[spec.lock][0]
    packages = {each.name: each.version for each in locked.to_build if each.hash in locked.installed}
    return replace(built, packages=packages, upstream=merged(built.upstream, lock.upstream))


def _again(folder: Path) -> Path:
    """Return another name of a folder, under which it is shown a second time."""
    link = folder.with_name("again")
    with suppress(FileExistsError):
        link.symlink_to(folder.name)
    return link


def _missing(caches: Caches, locked: Locked) -> frozenset[str]:
    return frozenset(each.hash for each in locked.to_build) - caches.known(locked.to_build)


def _counted(locked: Locked, missing: frozenset[str], compiles: bool) -> str:
    """Return how many packages are in the cache, and which are not."""
    count = len(locked.to_build)
    names = [each.label for each in locked.to_build if each.hash in missing] if compiles else []
    return f"{count - len(names)} of {count} packages are in the build cache; to compile: {', '.join(names) or 'none'}"


def _read(spec: SpackSpec) -> tuple[Sequence[contexts.Entry], Json]:
    path = Path(spec.folder)
    file = path / generated.CONFIGURATION if path.is_dir() else path
    try:
        return folder.entries(path), environment_of(file, str(file))
    except OSError as error:
        raise _changed(spec) from error


def _copied(spec: SpackSpec, target: Path, found: list[contexts.Entry]) -> bool:
    """Copy files of the user's folder; say whether a lock is among them. Raises CCImagesError if they have changed."""
    try:
        same = contexts.copied(found, target) == spec.context
    except OSError:
        same = False
    if not same:
        raise _changed(spec)
    return (target / generated.LOCK).exists()


def _changed(spec: SpackSpec) -> CCImagesError:
    return CCImagesError(
        f"the files in {spec.folder} have changed since the plan was made",
        hint="run it again",
        reason=Reason.OTHER_INPUTS,
        temporary=True,
    )


def _spec(spec: SpackSpec, place: Path, texts: Mapping[str, str], locked: Locked | None = None) -> ContainerfileSpec:
    """Write texts into a context; return the spec of its build."""
    folder.write(place, texts)
    said = spec.said or NOTHING_SAID.as_json()
    if locked is not None:
        said = {**said, "labels": {"version": locked.tag, **said.get("labels", {})}}
    return contexts.spec_of(
        place,
        ContainerfileSpec(
            makes=spec.makes,
            name=spec.name,
            tag=spec.tag,
            arch=spec.arch,
            recipe_key=spec.recipe_key,
            artifacts=spec.artifacts,
            timeout=spec.timeout,
            scratch=spec.scratch,
            families=spec.families,
            network=spec.network,
            secrets=spec.secrets,
            folder="",
            context="",
            arguments={},
            said=said,
            images=spec.images,
            before=spec.before,
            apart="" if locked is None else generated.APART,
        ),
    )


def _require_right(spec: SpackSpec, locked: Locked) -> None:
    """Raise CCImagesError for packages with another target than the machine's, and for two MPIs."""
    if others := [each for each in locked.to_build if spec.target and each.target != spec.target]:
        named = ", ".join(f"{each.label} for {each.target}" for each in others[:TARGETS_SHOWN])
        more = f" and {len(others) - TARGETS_SHOWN} more" if len(others) > TARGETS_SHOWN else ""
        raise CCImagesError(
            f"the lock has packages that are not for {spec.target}: {named}{more}",
            hint="a lock beside the spack.yaml, or a package's setting, says another target; --relock makes a new one",
            reason=Reason.VALUE,
        )
    found = locked.providers("mpi")
    if spec.mpi and (wrong := found - {spec.mpi}):
        raise CCImagesError(
            f"the lock has {', '.join(sorted(wrong))} for mpi, and the machine {spec.mpi}",
            hint="leave MPI to the machine",
            reason=Reason.VALUE,
        )


def _tell(context: TaskContext, said: str) -> None:
    context.log.write(f"{said}\n".encode())
    context.log.flush()
    context.step(said[:100])
