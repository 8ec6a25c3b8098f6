"""Forms for requests: their fields, the request that they make, and the field that an error stands beside. Pure.

The name of a field is its place in the request, with dots: `machine.mpi`. A field that is empty is not in the request,
unless it is required.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cc_images.config.loader import Config
from cc_images.config.requests import LONGEST_PATH
from cc_images.model import machine, targets
from cc_images.model.catalog import Json
from cc_images.web.pages.forms import Form


class Sort(StrEnum):
    """How a field is shown, and what it becomes: one text, a list of them, or a truth."""

    TEXT = "text"
    CHOICE = "choice"
    BOXES = "boxes"
    BOX = "box"


Options = Callable[[Config], list[tuple[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a form. `options` gives the values that can be chosen, each with what people read."""

    name: str
    label: str
    sort: Sort = Sort.TEXT
    hint: str = ""
    options: Options = lambda config: []
    proposals: tuple[str, ...] = ()
    """Texts that are proposed; others can be typed."""
    required: bool = False
    """Whether it is in the request even when it is empty, so that the lack has a message beside it."""
    longest: int = 100
    """Characters of a text."""
    offered: Callable[[Config], bool] = lambda config: True
    """Whether a service has use for it."""


def _images(config: Config) -> list[tuple[str, str]]:
    found = [each for each in config.images.values() if not each.abstract]
    return [(each.tag, ", ".join(map(str, each.arches))) for each in found]


def _architectures(config: Config) -> list[tuple[str, str]]:
    known = dict.fromkeys(str(arch) for each in config.images.values() if not each.abstract for arch in each.arches)
    return [(each, each) for each in known]


def _machines(config: Config) -> list[tuple[str, str]]:
    return [("", "described below"), *((each, each) for each in config.machines)] if config.machines else []


def _same(*names: str) -> Options:
    return lambda config: [("", "choose"), *((each, each) for each in names)]


PUSH = Field(name="push", label="Publish", sort=Sort.BOX, hint="on the sites of the service, once it is tested")
FORCE = Field(name="force", label="Build again", sort=Sort.BOX, hint="even if nothing has changed")

FORMS: Mapping[str, tuple[Field, ...]] = {
    "images": (
        Field(name="images", label="Images", sort=Sort.BOXES, options=_images, required=True),
        Field(
            name="architectures",
            label="Architectures",
            sort=Sort.BOXES,
            options=_architectures,
            hint="none: all that an image supports",
        ),
        PUSH,
        FORCE,
    ),
    "machine": (
        Field(name="workflow", label="Workflow", required=True),
        Field(name="step_id", label="Step", required=True),
        Field(name="version", label="Version", hint="a tag, branch or commit; empty: latest"),
        Field(
            name="path",
            label="Folder",
            hint="of the server, with the step; empty: the repository's",
            longest=LONGEST_PATH,
            offered=lambda config: bool(config.workflows.served),
        ),
        Field(name="machine", label="Machine", sort=Sort.CHOICE, options=_machines),
        Field(
            name="machine.platform",
            label="Platform",
            sort=Sort.CHOICE,
            options=_same(*targets.FAMILIES),
            required=True,
        ),
        Field(
            name="machine.architecture",
            label="Processor",
            hint="as archspec names it, such as zen3",
            proposals=tuple(targets.KNOWN),
            required=True,
        ),
        Field(
            name="machine.container_engine",
            label="Container engine",
            sort=Sort.CHOICE,
            options=_same(*machine.ENGINES),
            required=True,
        ),
        Field(name="machine.mpi", label="MPI", hint="such as openmpi@4; empty: none"),
        Field(name="machine.gpu", label="GPU", hint="such as cuda@12; empty: none"),
        Field(name="machine.base", label="Base", hint=f"an image of the catalogue; empty: {machine.USUAL_BASE}"),
        Field(
            name="machine.spack-builder",
            label="Spack's builder",
            hint=f"an image of the catalogue; empty: {machine.USUAL_BUILDER}",
        ),
        PUSH,
        FORCE,
    ),
}
"""The forms by the kind of request that they make; see `web.kinds.KINDS`."""


def missing(kind: str, config: Config) -> str:
    """Return what a service lacks for requests of a kind; empty: nothing."""
    said = config.workflows
    if kind != "machine" or said.repo or said.served or config.machines:
        return ""
    return (
        "This service has no workflows and no machines: settings.yaml names a repository (workflows: {repo: ADDRESS}), "
        "machines.yaml describes machines"
    )


def proposals(steps: Mapping[str, tuple[str, ...]]) -> dict[str, dict[str, str]]:
    """Return texts that are proposed by their fields, each with what people read beside it; `steps` by workflow."""
    of_step: dict[str, list[str]] = {}
    for workflow, names in steps.items():
        for name in names:
            of_step.setdefault(name, []).append(workflow)
    return {
        "workflow": {workflow: ", ".join(names) for workflow, names in steps.items()},
        "step_id": {name: f"of {', '.join(workflows)}" for name, workflows in of_step.items()},
    }


def body(kind: str, form: Form) -> Json:
    """Return the request that a form makes. A thing that is chosen by its name is not described as well."""
    made: Json = {}
    for field in FORMS[kind]:
        value = _value(field, form)
        if not value and value is not False and not field.required:
            continue
        inner: object = made
        *places, last = field.name.split(".")
        for place in places:
            inner = inner.setdefault(place, {}) if isinstance(inner, dict) else inner
        if isinstance(inner, dict):
            inner[last] = value
    return made


def _value(field: Field, form: Form) -> str | bool | list[str]:
    match field.sort:
        case Sort.BOXES:
            return form.every(field.name)
        case Sort.BOX:
            return form.has(field.name)
        case _:
            return form.one(field.name)


def beside(kind: str, place: str) -> str:
    """Return the field that an error at a place in a request stands beside; empty: it belongs to none."""
    names = [field.name for field in FORMS[kind]]
    while place and place not in names:
        place = place.rpartition(".")[0]
    return place
