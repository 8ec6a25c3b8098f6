"""The house: who may import whom, and the figures that keep its rooms small."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import REPOSITORY
from tests.support import house

MODULES = house.modules()
NAMES = sorted(MODULES)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_imports_what_its_wing_may(name: str) -> None:
    assert house.forbidden(MODULES[name]) == []


def test_no_module_imports_itself_through_others() -> None:
    assert house.cycle(MODULES) == []


def test_the_document_has_the_table() -> None:
    assert house.table() in (REPOSITORY / "docs/architecture/overview.md").read_text(), "script/house --table"


def test_only_the_worker_catches_everything_and_only_the_command_line_exits() -> None:
    for name, module in MODULES.items():
        for node in ast.walk(module.tree):
            broad = isinstance(node, ast.ExceptHandler) and (
                node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            )
            assert not broad or name == "engine.worker", f"{name}:{getattr(node, 'lineno', 0)}"
            leaves = isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit"
            assert not leaves or module.wing == "cli", f"{name}:{getattr(node, 'lineno', 0)}"


def test_programs_that_run_on_their_own_import_nothing_of_ours() -> None:
    for folder in house.ALONE:
        for path in (house.PACKAGE / folder.replace(".", "/")).rglob("*.py"):
            tree = ast.parse(path.read_text())
            checked = [each for each in tree.body if not isinstance(each, ast.If)]  # under TYPE_CHECKING is no import
            assert not house.imported(ast.Module(checked, [])), path


def test_only_the_configuration_reads_yaml() -> None:
    assert {name for name, module in MODULES.items() if "import yaml" in module.path.read_text()} == {
        "config.yaml_file"
    }
