"""An image as it is resolved: its elements, variables, packages and checks, each with where it comes from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from cc_images.builders.containerfile.recipes import placed
from cc_images.builders.containerfile.sections import readme_said
from cc_images.builders.dib import element_path
from cc_images.builders.dib.element_checks import Claims, own_checks
from cc_images.builders.dib.elements import Elements, own_elements, with_layout
from cc_images.config.loader import Config, packaged
from cc_images.model.catalog import Arch, Format, Image, Json
from cc_images.model.checks import DROPPED, every
from cc_images.model.contracts import README
from cc_images.model.redaction import redacted
from cc_images.model.target import Target
from cc_images.store.records import Store

FOLDERS = {"containerfile": "containers", "spack": "spack"}
"""The folders beside images.yaml that have the contexts of images, by builder."""


def resolution(config: Config, store: Store, image: Image, arch: Arch) -> Json:
    """Return what an image is made of, as far as is known here; nothing is fetched, and no secret is shown.

    Raises UserError for an element that is missing.
    """
    if image.builder != "dib":
        return _of_container(config, image, arch)
    elements = Elements(element_path.known_folders(config, store))
    lineage = config.lineage(image)
    named = {name: each.name for each in lineage for name in each.elements}
    wanted = with_layout((*config.content(image), *image.disk), arch)
    used = elements.in_order(wanted)
    ((complete, _),), _ = element_path.with_claims([Target(image, arch)], config, elements)
    return {
        "image": image.name,
        "arch": arch,
        "parents": [each.name for each in lineage[:-1]],
        "firmware": list(image.boots_with(arch)),
        "formats": list(image.formats),
        **_of_containers(config, image, arch),
        "elements": [
            {
                "name": name,
                "why": named.get(name) or _why(name, image, elements, used),
                "from": _place(elements.path(name).parent, config),
            }
            for name in used
            if name in elements.closure(wanted)
        ],
        "variables": _variables(config, image),
        "packages": [{"name": name, "from": each.name} for each in lineage for name in each.packages],
        "artifacts": [
            {"variable": variable, "address": artifact.shown, "from": each.name}
            for each in lineage
            for variable, artifact in each.artifacts.items()
        ],
        "checks": _checks(complete, config, elements, used),
    }


def _of_container(config: Config, image: Image, arch: Arch) -> Json:
    """Return the same of an image that dib does not make: it has no elements, and its checks are the catalogue's."""
    checks = every(own_checks(config.lineage(image)))
    nothing: Json = {name: [] for name in ("elements", "variables", "packages", "artifacts", "firmware")}
    return nothing | {
        "image": image.name,
        "arch": arch,
        "parents": [each.name for each in config.lineage(image)[:-1]],
        "formats": list(image.formats),
        **_of_containers(config, image, arch),
        "checks": [
            {"kind": kind, "name": what, "expected": dict(wanted), "from": "the catalogue"}
            for kind, what, wanted in checks
        ],
    }


def _of_containers(config: Config, image: Image, arch: Arch) -> Json:
    """Return what only images for containers have: how they are made and run, and the sections of their README."""
    if not {Format.OCI, Format.SIF} & {*image.formats}:
        return {"container": {}}
    folder = placed(image, arch, config.files["images.yaml"].parent, FOLDERS.get(image.builder, "containers"))
    labels = readme_said(image, arch, folder)["labels"]
    return {"container": _run(image), "readme": {name: labels.get(name, "") for name in README}}


def _run(image: Image) -> Json:
    """Return how an image for containers is made and run, as far as the catalogue says, a phrase by its key."""
    made = {"builder": image.builder, "version": image.version, **image.containerfile, **image.container}
    folder = FOLDERS.get(image.builder, "")
    made.setdefault("context", f"{folder}/{image.entry_name.lower()}" if folder else "")
    return {name: _phrase(value) for name, value in made.items() if value}


def _phrase(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_phrase(each)}" for name, each in value.items())
    return shlex.join(value) if isinstance(value, list) else str(value)


def _why(name: str, image: Image, elements: Elements, used: tuple[str, ...]) -> str:
    if name in image.disk:
        return f"{image.name}, disk"
    user = next((each for each in used if elements.needs(each, name)), "")
    return f"needed by {user}" if user else "dib adds it"


def _place(folder: Path, config: Config) -> str:
    """Return whose elements lie in a folder."""
    if folder == own_elements():
        return "dib"
    if folder == packaged("elements"):
        return "cc-images"
    if folder in config.elements:
        return str(folder)
    return next((f"third-party {each.name}" for each in config.sources if each.name in folder.parts), str(folder))


def _variables(config: Config, image: Image) -> list[Json]:
    values = config.variables(image)
    shown = redacted(values, declared=config.declared(image))
    where: dict[str, str] = {}
    for each in config.lineage(image):
        where |= dict.fromkeys(each.environment, each.name)
    where |= dict.fromkeys(config.environment, "the environment or settings")
    return [{"name": name, "value": shown[name], "from": where[name]} for name in sorted(values)]


def _checks(image: Image, config: Config, elements: Elements, used: tuple[str, ...]) -> list[Json]:
    claims = Claims(elements)
    where: dict[tuple[str, str], str] = {}
    for name in used:
        where |= {(kind, what): f"element {name}" for kind, what, _ in every(claims.of(name))}
    for each in config.lineage(config.images[image.tag]):
        where |= {(kind, what): each.name for kind, what, wanted in every(each.checks) if DROPPED not in wanted}
    return [
        {"kind": kind, "name": what, "expected": dict(wanted), "from": where.get((kind, what), "")}
        for kind, what, wanted in every(image.checks)
    ]
