"""Layering: the elements that a child inherits with its parent's finished tree, and the hooks that run again.

dib knows no layers. A child's build gets a generated element instead, `cc-layer`, that unpacks the parent's tree and
*provides* the parent's elements, so that dib does not run them again. Three kinds of things run again all the same:

mechanics       elements that work on other elements' files, or in pairs of a hook that sets up and one that takes down
environment.d   of every provided element, since later hooks rely on what it exports
the ending      pre-finalise.d, finalise.d and cleanup.d of every provided element, since a build of the child in one go
                would run them after everything that the child installs
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cc_images.builders.dib.element_modes import make_normal
from cc_images.builders.dib.elements import Elements

LAYER_ELEMENT = "cc-layer"

MECHANICS = frozenset(
    {
        "cache-url",
        "cc-provenance",
        "dib-init-system",
        "dib-python",
        "dib-run-parts",
        "dpkg",
        "install-bin",
        "install-static",
        "install-types",
        "manifests",
        "package-installs",
        "pkg-map",
        "source-repositories",
        "svc-map",
        "sysprep",
    }
)
"""Elements whose hooks serve other elements; they run in every build."""

UNPROVEN = frozenset({"yum", "yum-minimal", "zypper", "zypper-minimal", "portage", "gentoo"})
"""Package tooling not proven to start from a finished tree; images with it are built in one go."""

BUILDING = frozenset({"root.d", "extra-data.d", "pre-install.d", "install.d", "post-install.d", "post-root.d"})
"""Phases whose work is in the parent's tree already."""

_NOT_COPIED = BUILDING | {"static", "tests", "test-elements", "__pycache__"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """The elements that a build inherits from a finished tree, what they provide, and which of them still run again."""

    provided: tuple[str, ...]
    provides: tuple[str, ...]
    again: tuple[str, ...]

    def beyond(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Return those of the wanted elements that are not in the tree yet."""
        there = {*self.provides, *self.again}
        return tuple(name for name in wanted if name not in there)


def inherit(elements: Elements, content: tuple[str, ...]) -> Inheritance:
    """Return the inheritance of a build that starts from a tree of these content elements."""
    closure = elements.closure(content)
    provided = tuple(name for name in closure if name not in MECHANICS)
    stands_for = {each for name in closure for each in elements.provides(name)} - MECHANICS
    return Inheritance(
        provided=provided,
        provides=tuple(sorted({*provided, *stands_for})),
        again=tuple(name for name in closure if name in MECHANICS),
    )


def obstacle(
    elements: Elements,
    inheritance: Inheritance,
    parent: Mapping[str, str],
    child: Mapping[str, str],
) -> str:
    """Return why a child cannot start from the tree, or an empty string; `parent` and `child` are their variables.

    A variable that the child sets differently, and that an element of the tree reads, would have had an effect that
    the finished tree lacks.
    """
    if tooling := [name for name in inheritance.provided if name in UNPROVEN]:
        return f"{tooling[0]} is not known to start from a finished tree"
    if removing := [name for name in inheritance.provided if elements.removes_packages(name)]:
        return f"element {removing[0]} of the parent removes packages that a build in one go would have"
    for variable in sorted(name for name, value in child.items() if parent.get(name) != value):
        for name in inheritance.provided:
            if elements.mentions(name, variable):
                return f"it or its elements set {variable}, which element {name} of the parent reads"
    return ""


def write_element(folder: Path, elements: Elements, inheritance: Inheritance, unpack: Path) -> None:
    """Write the generated element into `folder`; `unpack` is the folder of its fixed part, the hook that unpacks."""
    shutil.copytree(unpack, folder)
    for name in inheritance.provided:
        for entry in sorted(elements.path(name).iterdir()):
            if entry.is_dir() and entry.name not in _NOT_COPIED:
                shutil.copytree(entry, folder / entry.name, dirs_exist_ok=True, copy_function=shutil.copy)
    (folder / "element-deps").write_text("".join(f"{name}\n" for name in inheritance.again))
    (folder / "element-provides").write_text("".join(f"{name}\n" for name in inheritance.provides))
    make_normal(folder)
