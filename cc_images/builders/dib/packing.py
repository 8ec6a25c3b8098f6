"""Packing: the files that a build by dib reads on the host that made its plan, copied for a build on another one."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cc_images.builders.base import BUNDLED
from cc_images.builders.dib.element_modes import copy_normal
from cc_images.builders.dib.elements import Elements, with_layout
from cc_images.builders.dib.spec import DibSpec, ProgramsSpec
from cc_images.host.named_files import named_files

S = TypeVar("S", DibSpec, ProgramsSpec)


def packed(spec: DibSpec, folder: Path) -> DibSpec:
    """Copy the elements that a build uses, and the files that its variables name; return the spec that names those."""
    elements = Elements(tuple(map(Path, spec.folders)))
    target = folder / "elements"
    target.mkdir(parents=True)
    wanted = with_layout((*spec.content, *spec.disk), spec.arch)
    for name in _used(elements, (*(spec.base.content if spec.base is not None else ()), *wanted)):
        copy_normal(elements.path(name), target / name)
    return replace(named(spec, folder), folders=(f"{BUNDLED}/elements",))


def _used(elements: Elements, wanted: Iterable[str]) -> list[str]:
    """Return the elements that any build of these reads: those in their closure, and those that others stand for."""
    wanted = list(dict.fromkeys(wanted))
    found = dict.fromkeys([*wanted, *elements.closure(wanted)])
    pending = list(found)
    while pending:
        for name in sorted(elements.needed_by(pending.pop())):
            if name not in found and elements.has(name):
                found[name] = None
                pending.append(name)
    return [name for name in found if elements.has(name)]


def named(spec: S, folder: Path) -> S:
    """Copy the files and folders that a spec's variables name; return the spec whose variables name the copies."""
    environment = dict(spec.environment)
    found = {str(path): path for path in named_files(environment).values()}
    for number, (text, path) in enumerate(sorted(found.items(), key=lambda each: -len(each[0]))):
        target = folder / "files" / str(number) / path.name
        target.parent.mkdir(parents=True)
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copyfile(path, target)
        inside = f"{BUNDLED}/files/{number}/{path.name}"
        environment = {name: value.replace(text, inside) for name, value in environment.items()}
    return replace(spec, environment=environment)
