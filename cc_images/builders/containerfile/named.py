"""Named contexts of a build: which a Containerfile takes files of, what they have, and their copies for the build.

A folder counts by its files, a repository by its commit. Either is copied with modes and times that are the same
everywhere, so what a command makes of them is, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from cc_images.builders.base import BUNDLED
from cc_images.builders.containerfile import context
from cc_images.builders.containerfile.containerfile import Containerfile, Stage
from cc_images.builders.containerfile.spec import ContainerfileSpec, NamedContext
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.catalog import Image, Json
from cc_images.model.element_source import ElementSource
from cc_images.sources import git
from cc_images.store.run_context import TaskContext

IGNORED = ("**/.git", "**/__pycache__")
"""Names that are no part of any of them: they differ from checkout to checkout."""


def taken(image: Image, file: Containerfile, stages: Collection[Stage], known: Collection[str]) -> dict[str, Json]:
    """Return the places of the contexts of which stages take files, by name; `known` has the images of the catalogue.

    Raises UserError for a name that means something else, too, and for one that the file does not have.
    """
    places: dict[str, Json] = dict(image.containerfile.get("contexts", {}))
    for name in places:
        key = f"images.yaml: {image.name}.contexts.{name}"
        if name in known or any(name == each.name for each in file.stages):
            what = "an image of the catalogue" if name in known else "a stage of the Containerfile"
            raise UserError(f"{key}: {name} is {what}, too", hint="choose another name", reason=Reason.VALUE)
        if any(name == each.begins for each in file.stages):
            raise UserError(f"FROM {name}: that is no image", hint=f"say COPY --from={name}", reason=Reason.VALUE)
        if not any(name in each.uses for each in file.stages):
            raise UserError(
                f"{key}: the Containerfile takes nothing from it", hint=f"say COPY --from={name}", reason=Reason.VALUE
            )
    return {name: place for name, place in places.items() if any(name in each.uses for each in stages)}


def found(image: Image, places: Mapping[str, Json]) -> dict[str, NamedContext]:
    """Return contexts as they are now. Raises UserError for a folder that is not there."""
    return {name: _found(f"images.yaml: {image.name}.contexts.{name}", place) for name, place in places.items()}


def _found(key: str, place: Json) -> NamedContext:
    ignore = tuple(place.get("ignore", ()))
    if "git" in place:
        return NamedContext(folder=place.get("folder", ""), repo=place["git"], commit=place["commit"], ignore=ignore)
    variable, said = place.get("variable", ""), place.get("folder", "")
    hint = f"set {variable} to it, in the environment or in `contexts` of the settings" if variable else "correct it"
    if not said or not Path(said).is_dir():
        wrong = f"{said} is no folder" if said else f"{variable} is not set"
        raise UserError(f"{key}: {wrong}", hint=hint, reason=Reason.MISSING_FILE)
    made = NamedContext(folder=said, ignore=ignore)
    return replace(made, digest=context.digest(_entries(made, Path(said))))


def _entries(named: NamedContext, folder: Path) -> list[context.Entry]:
    return context.entries(folder, "\n".join((*IGNORED, *named.ignore)))


def laid_out(spec: ContainerfileSpec, place: Path, task: TaskContext) -> dict[str, Path]:
    """Copy the contexts of a build; return their folders by name.

    Raises CCImagesError for files that have changed since the plan was made, and a repository that cannot be had.
    """
    made = {name: place / f"context-{number}" for number, name in enumerate(spec.contexts)}
    for name, target in made.items():
        each = spec.contexts[name]
        if not each.repo:
            _copied(each, target)
            continue
        task.step(f"context {name}")
        whole = _checkout(name, each, spec, task)
        checkout = (whole / each.folder).resolve()
        if not (checkout.is_dir() and checkout.is_relative_to(whole.resolve())):
            raise CCImagesError(
                f"images.yaml: {spec.name}.contexts.{name}: no folder {each.folder} at commit {each.commit[:12]}",
                hint="correct `folder`",
                reason=Reason.MISSING_FILE,
            )
        context.copied(_entries(each, checkout), target)
    return made


def _checkout(name: str, named: NamedContext, spec: ContainerfileSpec, task: TaskContext) -> Path:
    source = ElementSource(
        name=f"context-{name}",
        repo=named.repo,
        commit=named.commit,
        title="the files of",
        file=f"images.yaml: {spec.name}.contexts",
        alone=True,
    )
    return git.update(source, task.store, offline=task.run.settings.offline, stop=task.stop).folder


def carried(spec: ContainerfileSpec, folder: Path) -> dict[str, NamedContext]:
    """Copy the folders among a spec's contexts to where they are read again; a repository is fetched there."""
    found = dict(spec.contexts)
    for name, each in spec.contexts.items():
        if not each.repo:
            _copied(each, folder / name)
            found[name] = replace(each, folder=f"{BUNDLED}/{folder.name}/{name}")
    return found


def _copied(named: NamedContext, target: Path) -> None:
    try:
        same = context.copied(_entries(named, Path(named.folder)), target) == named.digest
    except OSError:  # a file is gone
        same = False
    if not same:
        raise context.changed(named.folder)
