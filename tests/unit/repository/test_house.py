"""The house: who may import whom, and the figures that keep its rooms small."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import REPOSITORY
from tests.support import house


def attributes(module: house.Module) -> set[str]:
    """Return the attributes of names in a module, such as os.environ."""
    return {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def is_exit(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and called.attr == "exit" and ast.unparse(called) == "sys.exit"


def test_a_module_imports_what_its_wing_may(modules: dict[str, house.Module]) -> None:
    assert {name: found for name, module in modules.items() if (found := house.forbidden(module))} == {}


def test_no_module_imports_itself_through_others(modules: dict[str, house.Module]) -> None:
    assert house.cycle(modules) == []


def test_the_figures_of_the_house(modules: dict[str, house.Module]) -> None:
    plain = {name: each for name, each in modules.items() if each.path.name != "__init__.py"}
    assert len(house.entries()) <= 20, "17 wings, errors, clock, testing"
    assert {name: each.lines for name, each in plain.items() if each.lines > house.MOST_LINES} == {}
    several = [each for module in plain.values() for each in house.functions(module)]
    assert [(name, lines) for name, lines, _ in several if lines > house.MOST_FUNCTION] == []
    assert [(name, count) for name, _, count in several if count > house.MOST_PARAMETERS] == []
    assert sum(len(house.counted(each)) for each in plain.values()) / len(plain) <= 3.5
    assert len(modules["api.run"].imports) <= 12
    assert len([name for name in house.longest_chain(modules) if name not in house.EVERYWHERE]) <= 13


PURE = (
    "engine.schedule", "planner.planner", "sites.reconcile", "sites.learning", "sites.following", "sites.recalling",
    "sites.rollbacks", "sites.gates", "sites.pulling", "sites.retiring",
    "planner.pushes", "planner.waves", "planner.image_state", "planner.partial",
    "store.retention", "boottest.console", "boottest.hygiene", "boottest.contents",
    "remote.attempts", "remote.observed", "remote.placement", "remote.machines", "remote.machine_steps",
    "remote.slurm_nodes", "remote.node_names", "web.decisions", "web.ranges",
    "web.client.decisions", "web.client.events",
)  # fmt: skip
"""Modules that decide, and import values and other pure modules alone."""


@pytest.mark.parametrize("name", PURE)
def test_what_decides_imports_values_alone(modules: dict[str, house.Module], name: str) -> None:
    beyond = {"engine.resources", "planner.image_state", "planner.layers", "planner.pushes",
              "planner.waves", "planner.partial", "sites.base", "sites.entry", "sites.view", "sites.steps",
              "sites.carrying", "sites.following", "sites.recalling", "sites.rollbacks",
              "sites.retiring", "sites.targets", "boottest.policy",
              "remote.attempt_steps", "remote.observed", "remote.machine_steps"}  # fmt: skip
    assert {each for each in modules[name].imports if not each.startswith(("model.", "errors"))} <= beyond
    used = attributes(modules[name])
    assert not used & {"os.environ", "time.time", "time.monotonic", "subprocess.run", "Path.open"}


def test_the_environment_signals_and_the_end_are_the_command_lines_business(modules: dict[str, house.Module]) -> None:
    for name, module in modules.items():
        used = attributes(module)
        assert "os.environ" not in used or module.wing in ("config", "host", "cli"), name
        assert not used & {"signal.signal", "os._exit", "sys.argv"} or module.wing == "cli", name


def test_kinds_of_jobs_are_told_apart_in_few_places(modules: dict[str, house.Module]) -> None:
    kinds = {"FetchJob", "BuildJob", "LayerJob", "ConvertJob", "BootJob", "PushJob"}
    matching = {
        name
        for name, module in modules.items()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Match)
        and sum(isinstance(case.pattern, ast.MatchClass) and ast.unparse(case.pattern.cls) in kinds
                for case in node.cases) > 1
    }  # fmt: skip
    assert matching <= {"engine.capacity", "engine.local", "report.plan_tree", "report.usual_shares"}


def test_the_document_has_the_table() -> None:
    assert house.table() in (REPOSITORY / "docs/architecture/overview.md").read_text(), "script/house --table"


def test_only_the_worker_catches_everything_and_only_the_command_line_exits(modules: dict[str, house.Module]) -> None:
    for name, module in modules.items():
        for node in ast.walk(module.tree):
            broad = isinstance(node, ast.ExceptHandler) and (
                node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            )
            assert not broad or name == "engine.worker", f"{name}:{getattr(node, 'lineno', 0)}"
            leaves = isinstance(node, ast.Call) and is_exit(node.func)
            assert not leaves or module.wing == "cli", f"{name}:{getattr(node, 'lineno', 0)}"


def test_programs_that_run_on_their_own_import_nothing_of_ours() -> None:
    for folder in house.ALONE:
        for path in (house.PACKAGE / folder.replace(".", "/")).rglob("*.py"):
            tree = ast.parse(path.read_text())
            checked = [each for each in tree.body if not isinstance(each, ast.If)]  # under TYPE_CHECKING is no import
            assert not house.imported(ast.Module(checked, [])), path


def test_only_the_configuration_reads_yaml(modules: dict[str, house.Module]) -> None:
    readers = {name for name, module in modules.items() if "import yaml" in module.path.read_text()}
    assert readers == {"config.yaml_file", "config.yaml_text"}
