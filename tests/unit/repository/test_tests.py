"""The tests themselves: none is about a private name, and constants are parameters where that is possible."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support import house

PATCHED = 15
"""Patched constants from which on there are too many: one is hard to give as a parameter when it is the host's."""

OWN = {"self", "cls"}
STANDARD = {"os", "sys"}
"""Modules of Python whose public functions begin with an underscore (os._exit)."""


@pytest.fixture(scope="module")
def trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text())) for path in sorted((REPOSITORY / "tests").rglob("*.py"))]


def is_private(name: str) -> bool:
    return bool(re.fullmatch(r"_[a-z]\w*", name))


def private_names(tree: ast.Module) -> Iterator[str]:
    """Yield the private names that a test takes from elsewhere: attributes, imports, and what it patches."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=attr) if owner in OWN | STANDARD:
                pass
            case ast.Attribute(attr=attr) if is_private(attr):
                yield attr
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("cc_images"):
                yield from (each.name for each in names if is_private(each.name))
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[*_, ast.Constant(value=str(name)), _]):
                if is_private(name.rpartition(".")[2]):
                    yield name


def patched_constants(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[*_, ast.Constant(value=str(name)), _]):
                if re.fullmatch(r"[A-Z][A-Z_]+", name.rpartition(".")[2]):
                    yield name


def test_no_test_is_about_a_private_name(trees: list[tuple[Path, ast.Module]]) -> None:
    found = {str(path.relative_to(REPOSITORY)): names for path, tree in trees if (names := [*private_names(tree)])}
    assert not found


def test_no_module_imports_a_private_name(modules: dict[str, house.Module]) -> None:
    alone = [path for folder in house.ALONE for path in (house.PACKAGE / folder.replace(".", "/")).rglob("*.py")]
    trees = [*(each.tree for each in modules.values()), *(ast.parse(path.read_text()) for path in alone)]
    imports = (node for tree in trees for node in ast.walk(tree))
    found = [each.name for node in imports if isinstance(node, ast.ImportFrom) for each in node.names]
    assert not [name for name in found if is_private(name)]


def test_constants_are_parameters(trees: list[tuple[Path, ast.Module]]) -> None:
    found = [f"{path.name}: {name}" for path, tree in trees for name in patched_constants(tree)]
    assert len(found) < PATCHED, found
