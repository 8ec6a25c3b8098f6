"""The schema of a request for an image: a file in JSON or YAML, or a mapping of a program."""

from __future__ import annotations

import difflib
import json
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path

from cc_images.config.machines import brief_text, machine_of
from cc_images.config.strict import refuse, text_of, whole
from cc_images.config.yaml_file import LISTED, Section
from cc_images.errors import Reason, UserError
from cc_images.model.catalog import Json
from cc_images.model.machine import Machine
from cc_images.model.plain_text import brief
from cc_images.model.request import BASE, LATEST, LONGEST_NAME, LONGEST_WORD, VERSION, WORD, ImageRequest, name_of

KEYS = "machine, workflow and step_id"

LONGEST_PATH = 1000


def read_request(file: Path, machines: Mapping[str, Machine]) -> ImageRequest:
    """Return the request of a file; a path in it begins at the file's folder.

    Raises UserError with line, column and what was expected.
    """
    text = text_of(file, str(file))
    return _read(text, machines, file.name, file.absolute().parent)


def request_of(said: Json, machines: Mapping[str, Machine], folder: Path) -> ImageRequest:
    """Return the request of a mapping of plain values; a path in it begins at the folder. Raises UserError."""
    try:
        text = json.dumps(said, indent=0)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"the request is no mapping of plain values: {error}", reason=Reason.VALUE) from error
    return _read(text, machines, "request", folder)


def mapping_of(asked: ImageRequest) -> Json:
    """Return a request as the mapping that `request_of` reads as it; all that it leaves to defaults is said."""
    machine = asked.machine
    runtimes = {"mpi": machine.mpi, "gpu": machine.gpu}
    return {
        "machine": {
            "platform": machine.platform,
            "architecture": machine.architecture,
            "container_engine": machine.engine,
            **{key: str(runtime) for key, runtime in runtimes.items() if runtime is not None},
            "base": machine.base,
            "spack-builder": machine.builder,
        },
        "workflow": asked.workflow,
        "step_id": asked.step,
        "version": asked.version,
        **({"path": str(asked.path)} if asked.path is not None else {}),
        "force": asked.force,
        **({"push": asked.push} if asked.push is not None else {}),
    }


def image_name(asked: ImageRequest, prefix: str, catalogue: Container[str]) -> str:
    """Return the name of a request's image. Raises UserError for one that is too long, or of the catalogue."""
    name = name_of(asked, prefix)
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"the image's name would have {len(name)} letters, of {LONGEST_NAME}: {name}",
            hint="give workflow and step shorter names",
            reason=Reason.VALUE,
        )
    if name in catalogue:
        raise UserError(
            f"{name} is an image of the catalogue, too",
            hint="say workflows: {prefix: …} in settings.yaml",
            reason=Reason.VALUE,
        )
    return name


def _read(text: str, machines: Mapping[str, Machine], title: str, folder: Path) -> ImageRequest:
    problems: list[str] = []
    section = whole(text, problems, title, KEYS)
    machine = _machine(section, machines)
    workflow, step = (_word(section, key) for key in ("workflow", "step_id"))
    version = brief_text(section, "version", VERSION, _EXPECTED_VERSION) or LATEST
    if len(version) > LONGEST_WORD:
        section.problem("version", f"{brief(version)} has more than {LONGEST_WORD} letters")
    elif version != LATEST and version.lower().startswith(LATEST):
        section.problem("version", f"{brief(version)}: only {LATEST} itself may begin so")
    path = section.text("path")
    if len(path) > LONGEST_PATH or not path.isprintable():
        section.problem("path", f"{brief(path)} is not a path of at most {LONGEST_PATH} characters that can be printed")
    elif path and (why := why_no_folder(folder / path)):
        section.problem("path", f"{brief(path)} {why}; name a folder with a description")
    force = section.flag("force")
    says_push, push = bool(section.kind("push")), section.flag("push")
    if (workflow == BASE) != (step == BASE):
        section.problem("step_id", f"{BASE} is the workflow and the step, or neither")
    section.close()
    refuse(problems)
    assert machine is not None
    return ImageRequest(
        machine=machine,
        workflow=workflow,
        step=step,
        version=version,
        path=folder / path if path else None,
        force=force,
        push=push if says_push else None,
        file=title,
    )


_EXPECTED = "letters and digits, with single dots, hyphens and underscores between them"
_EXPECTED_VERSION = "letters and digits, with single dots, hyphens, underscores and slashes between them"


def why_no_folder(path: Path) -> str:
    """Return why a path is no folder; empty: it is one."""
    try:
        return "" if path.is_dir() else "is no folder" if path.exists() else "is not there"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"


def _machine(section: Section, machines: Mapping[str, Machine]) -> Machine | None:
    """Return the machine that a request names or brings along."""
    if section.kind("machine") == "mapping":
        brought = machine_of(section.child("machine"))
        return brought and replace(brought, name="")
    if not section.kind("machine"):
        section.text("machine")
        section.problem("machine", "is missing: a name of machines.yaml, or a mapping")
        return None
    name = section.text("machine")
    if name and name not in machines:
        section.problem("machine", f"no machine is called {brief(name)}{_others(name, [*machines])}")
    return machines.get(name)


def _others(name: str, known: list[str]) -> str:
    """Return what follows an unknown name: the known ones, the one that is near, or that there are none."""
    if not known:
        return ": no machines.yaml, here or beside the catalogue, has a machine"
    near = difflib.get_close_matches(name[:LONGEST_WORD], known, n=1)
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return f"; known are {', '.join(known[:LISTED])}{more}" + (f" (did you mean {near[0]}?)" if near else "")


def _word(section: Section, key: str) -> str:
    """Return a workflow's or a step's name."""
    if not section.kind(key):
        section.text(key)
        section.problem(key, "is missing: " + _EXPECTED)
        return ""
    said = brief_text(section, key, WORD, _EXPECTED)
    if len(said) > LONGEST_WORD:
        section.problem(key, f"{brief(said)} has more than {LONGEST_WORD} letters")
    return said
