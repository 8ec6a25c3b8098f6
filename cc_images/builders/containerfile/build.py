"""One build by buildah: what it needs is laid out, it runs in a sandbox, and its result becomes an image of ours."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import convert

from cc_images.builders.base import BUNDLED, BuildInputs, Built
from cc_images.builders.containerfile import context as contexts
from cc_images.builders.containerfile.containerfile import parsed
from cc_images.builders.containerfile.generated import TEXTS, Generated, generated
from cc_images.builders.containerfile.named import carried, laid_out
from cc_images.builders.containerfile.result import Variables, written
from cc_images.builders.containerfile.shown import Shown, outside, volumes
from cc_images.builders.containerfile.spec import ContainerfileSpec, From
from cc_images.builders.download_cache import Generation
from cc_images.builders.downloads import held, keep
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import environment, network, process, user_emulation
from cc_images.host.containers import archive
from cc_images.host.containers import image as oci
from cc_images.host.root import TOOLBOX
from cc_images.host.sandbox import Sandbox
from cc_images.model.catalog import Json
from cc_images.model.container import Configuration
from cc_images.model.recipe import merged
from cc_images.sources import upstream
from cc_images.store.run_context import TaskContext

COMMAND = (
    *("buildah", "build", "--isolation", "chroot", "--uts", "host", "--network", "host"),
    *("--pull-never", "--no-cache", "--layers=false", "--format", "oci"),
)

RESULT = "localhost/cc-images/result"

LEAST_SECRET = 6
"""Characters of a line that is hidden by itself; shorter ones stand in everything."""


def build(
    spec: ContainerfileSpec,
    inputs: BuildInputs,
    context: TaskContext,
    shown: Sequence[Shown] = (),
    completed: Variables = dict,
) -> Built:
    """Build an image; its commands see what is shown. Raises CCImagesError with the last line that one has printed."""
    if inputs.until:
        raise UserError(
            f"--until {inputs.until}: an image from a Containerfile has no phases",
            hint="name a stage by `target:` in images.yaml",
            reason=Reason.VALUE,
        )
    if spec.own:
        layer, file = inputs.layers[spec.own]
        inputs.workspace.mkdir(parents=True, exist_ok=True)
        return Built(file=linked(file, inputs.workspace / "image.oci.tar"), upstream=layer.upstream)
    place = inputs.workspace / "build"
    values = _secrets(spec)
    text = _copied(spec, place / "context")
    named = laid_out(spec, place, context)
    bases = {name: _base(spec, each, inputs, place / f"from-{number}.oci.tar", context)
             for number, (name, each) in enumerate(spec.images.items())}  # fmt: skip
    names = {name: f"localhost/cc-images/from-{number}" for number, name in enumerate(bases)}
    stages = parsed(text, spec.arguments, spec.arch)
    wanted = stages.target(spec.target)
    made = generated(stages, wanted, {**names, **{name: name for name in named}})
    with held(spec, context) as found:
        sandbox = _sandbox(spec, inputs, context, [*bases.values(), *outside(shown, inputs.workspace)], found)
        more = [*volumes(shown, sandbox)]
        for name, folder in named.items():
            more += ["--build-context", f"{name}={sandbox.place(folder)}"]
        _order(spec, made, {names[name]: each for name, each in bases.items()}, place, sandbox, more)
        context.step("buildah")
        _run(spec, sandbox, place / "order.json", values, context)
        keep(spec, found, sandbox.out, context)
    context.step("its layers")
    begins = stages.begins(wanted)
    base = archive.read(bases[begins]) if begins in bases else None
    image = written(spec, sandbox.out / "image", base, inputs.workspace, context, completed)
    known = [inputs.layers[key][0].upstream for key in spec.relies_on]
    return Built(file=image, upstream=merged(*known, upstream.seen(sandbox.out)), peaks=sandbox.peaks())


def carry(spec: ContainerfileSpec, bundle: Path) -> ContainerfileSpec:
    """Copy contexts to where they are read again, with the Containerfile and ignore file, which need not be part of it.

    Returns the spec with their places there. Raises CCImagesError unless they are those of the spec.
    """
    target = bundle / "context"
    _copied(spec, target)
    file = contexts.file_of(Path(spec.folder))
    for each in (file, *(file.with_name(name) for name in contexts.IGNORES)):
        if each.is_file() and not (target / each.name).exists():
            shutil.copyfile(each, target / each.name)
    return replace(spec, folder=f"{BUNDLED}/{target.name}", contexts=carried(spec, bundle / "contexts"))


def _copied(spec: ContainerfileSpec, target: Path) -> str:
    """Copy the context; return the Containerfile's text. Raises CCImagesError unless they are those of the spec."""
    folder = Path(spec.folder)
    try:
        text = contexts.text_of(folder)
        same = contexts.copied(contexts.entries(folder), target) == spec.context
    except OSError:  # a file is gone
        same = False
    if not same or contexts.digest_of_text(text) != spec.file:
        raise contexts.changed(folder)
    return text


def linked(file: Path, target: Path) -> Path:
    """Give a stored file a second name: it is placed over itself, and nobody who uses it notices."""
    try:
        os.link(file, target)
    except OSError:  # another file system, or an owner whose files may not be linked
        process.run(["cp", "--reflink=auto", str(file), str(target)], env=environment.plain())
    return target


def _base(spec: ContainerfileSpec, wanted: From, inputs: BuildInputs, target: Path, context: TaskContext) -> Path:
    """Return the archive of an image that the build starts from."""
    if wanted.download:
        return inputs.downloads[wanted.download]
    _, file = inputs.layers[wanted.layer]
    if not wanted.said:
        return file
    context.step("its base as an image")
    said = convert(wanted.said, Configuration)
    oci.write_oci(file, target, said, spec.arch, log=context.log, stop=context.stop)
    return target


def _sandbox(
    spec: ContainerfileSpec,
    inputs: BuildInputs,
    context: TaskContext,
    files: Sequence[Path],
    found: Sequence[Generation],
) -> Sandbox:
    variables = context.run.network
    kind = network.chosen(spec.network, variables)
    foreign = user_emulation.is_foreign(spec.arch)
    return Sandbox(
        workspace=inputs.workspace,
        guards=context.run.run.work / "guards",
        visible=tuple(each for each in files if inputs.workspace not in each.parents),
        tmpfs_mib=context.tmpfs_mib,
        cores=context.run.settings.cores,
        network=kind,
        outlet=network.program() if kind is network.Network.PRIVATE else "",
        interpreter=user_emulation.registration(spec.arch) if foreign else None,
        hosts=foreign,
        seeds=tuple(each.path for each in found),
    )


def _order(
    spec: ContainerfileSpec,
    made: Generated,
    images: Mapping[str, Path],
    place: Path,
    sandbox: Sandbox,
    more: Sequence[str],
) -> None:
    """Write the order to `toolbox/containerfile.py`, and what it names, into the workspace."""
    (place / "Containerfile").write_text(made.text)
    texts = place / "texts"
    texts.mkdir()
    for name, text in made.texts.items():
        (texts / name).parent.mkdir(exist_ok=True)
        (texts / name).write_text(text)
        (texts / name).parent.chmod(0o755)
        (texts / name).chmod(0o644)
    argv = [*COMMAND, "--arch", spec.arch, "--target", made.target, "--tag", RESULT]
    argv += ["--file", str(sandbox.place(place / "Containerfile"))]
    for name, value in spec.arguments.items():
        argv += ["--build-arg", f"{name}={value}"]
    if made.texts:
        argv += ["--build-context", f"{TEXTS}={sandbox.place(texts)}"]
    argv += more
    order: Json = {
        "argv": argv,
        "name": RESULT,
        "images": {name: str(sandbox.place(file)) for name, file in images.items()},
        "secrets": list(spec.secrets),
        "context": str(sandbox.place(place / "context")),
        "out": str(sandbox.place(sandbox.out)),
    }
    (place / "order.json").write_text(json.dumps(order))


def _secrets(spec: ContainerfileSpec) -> dict[str, str]:
    """Return the values of the secrets. Raises UserError for one that nothing sets."""
    values = {name: environment.variable(name, "") for name in spec.secrets}
    if missing := [name for name, value in values.items() if not value]:
        raise UserError(
            f"secrets: {', '.join(missing)} is set by nothing",
            hint="export it; RUN --mount=type=secret,id=NAME shows it to one command, and no layer has it",
            reason=Reason.VARIABLES,
        )
    return values


def _run(
    spec: ContainerfileSpec, sandbox: Sandbox, order: Path, values: Mapping[str, str], context: TaskContext
) -> None:
    variables = {**context.run.network, **{f"CC_IMAGES_SECRET_{name}": value for name, value in values.items()}}
    python = str(sandbox.place(TOOLBOX / "python"))
    try:
        sandbox.run(
            [python, str(sandbox.place(TOOLBOX / "containerfile.py")), str(sandbox.place(order))],
            variables,
            log=context.log,
            timeout=spec.timeout * 60.0,
            stop=context.stop,
            on_line=lambda line: _step(line, context),
            secrets=tuple(dict.fromkeys(each for value in values.values() for each in (value, *_lines(value)))),
        )
    except process.TimedOut:
        raise
    except process.CommandFailed as error:
        said = next((line for line in reversed(error.tail) if line.strip() and not line.startswith("time=")), "")
        raise CCImagesError(
            f"buildah ended with code {error.code}: {said}",
            hint="the log has all that its commands have printed",
            reason=Reason.COMMAND,
        ) from error


def _lines(secret: str) -> list[str]:
    """Return the lines of a secret of several lines, each of which may be printed alone."""
    found = secret.splitlines()
    return [each for each in found if len(each) >= LEAST_SECRET] if len(found) > 1 else []


def _step(line: str, context: TaskContext) -> None:
    """Show which instruction buildah has come to."""
    if found := re.match(r"(?:\[\d+/\d+\] )?STEP \S+ (.*)", line):
        context.step(found[1][:60])
