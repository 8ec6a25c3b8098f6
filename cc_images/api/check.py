"""The check of a folder with a Containerfile, and of a finished image, by the rules of a contract.

Without an image only what the files say is known; an image goes through the gate's own code, the same as before a push.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cc_images.api.containerfile_words import subject
from cc_images.boottest import inspector
from cc_images.boottest.container_test import ContainerTest
from cc_images.boottest.verdict import BootTestResult
from cc_images.errors import Reason, UserError
from cc_images.host.root import remove
from cc_images.model import contracts
from cc_images.model.catalog import Arch, Format, Json
from cc_images.model.container import Trial
from cc_images.model.plan import BootJob

CONTAINERFILES = ("Containerfile", "Dockerfile")
LAUNCH = b"#!/usr/bin/env run"


class State(StrEnum):
    """Whether a rule is kept."""

    KEPT = "kept"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One rule: whether it is kept, and what is wrong, or why nobody can tell."""

    rule: str
    state: State
    text: str = ""

    def as_json(self) -> Json:
        """Return the line as plain data."""
        return {"rule": self.rule, "state": self.state, "text": self.text}


def files(folder: Path, contract: str) -> list[Line]:
    """Return what the files of a folder tell of each rule. Raises UserError for what is no folder."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder", hint="name the folder of a Containerfile", reason=Reason.MISSING_FILE)
    file = next((folder / name for name in CONTAINERFILES if (folder / name).is_file()), None)
    readme = folder / "README.md"
    found = [
        _line("Containerfile", "" if file else f"there is neither {' nor '.join(CONTAINERFILES)}"),
        _line("README.md", "" if readme.is_file() else "there is no README.md"),
    ]
    if file is None:
        return found
    labels = contracts.readme_labels(readme.read_text(errors="replace")) if readme.is_file() else {}
    known = subject(file.read_text(errors="replace"), labels)
    for name, wrong in contracts.judged(contract, known).items():
        found.append(_line(f"{contract}.{name}", wrong, "only an image tells (--image)"))
    return found


def image(file: Path, contract: str, trial: Trial, stop: threading.Event) -> tuple[list[Line], tuple[str, ...]]:
    """Return what the gate says of a finished image, and the last lines that it printed where it failed.

    Raises UserError for what is neither an OCI archive nor a SIF file.
    """
    inspector.require_host()
    if not file.is_file() or inspector.self_contained(file, stop) != "tree":
        raise UserError(f"{file} is neither an OCI archive nor a SIF file", hint="name FILE.oci.tar or FILE.sif")
    folder = Path(tempfile.mkdtemp(prefix="cc-images-check-"))
    try:
        verdict = _tried(file, contract, trial, folder, stop)
    finally:
        remove(folder)
    said = "; ".join(verdict.inside)
    climb = next(iter(verdict.climbs.values()), None)
    found = [_line("inside", said)]
    if climb is not None:
        found.append(_line(str(climb.failed or "starts"), "; ".join(climb.problems)))
    wrong = {each.partition(": ")[0]: each.partition(": ")[2] for each in verdict.broken.get(contract, ())}
    for name in contracts.CONTRACTS[contract]:
        rule = f"{contract}.{name}"
        found.append(_line(rule, wrong.get(rule, "") if verdict.passed else None, "it did not start"))
    found += [Line(rule="size", state=State.ADVICE, text=each) for each in verdict.advice]
    return found, verdict.tail


def _tried(file: Path, contract: str, trial: Trial, folder: Path, stop: threading.Event) -> BootTestResult:
    with file.open("rb") as opened:
        form = Format.SIF if opened.read(len(LAUNCH)) == LAUNCH else Format.OCI
    arch = next((each for each in Arch if each.machine == os.uname().machine), Arch.AMD64)
    name = file.name
    job = BootJob(
        name=name, tag=name, arch=arch, version="", formats=(form,), firmware=(), checks={}, test_key="",
        trial=trial, allow=("passwords",),
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        test = ContainerTest(
            job=job, image=file, form=form, folder=folder / "test", guards=folder / "guards", log=log, stop=stop,
            report=lambda what: None,
        )  # fmt: skip
        return test.run()


def broken(lines: Sequence[Line]) -> bool:
    """Say whether a rule is broken."""
    return any(each.state is State.BROKEN for each in lines)


def _line(rule: str, wrong: str | None, why: str = "") -> Line:
    if wrong is None:
        return Line(rule=rule, state=State.UNKNOWN, text=why)
    return Line(rule=rule, state=State.BROKEN if wrong else State.KEPT, text=wrong)
