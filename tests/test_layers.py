"""The import table of docs/design.md: who may know whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cc_images

PACKAGE = Path(cc_images.__file__).parent

LAYERS: list[dict[str, set[str]]] = [
    # nouns: each may import the nouns named here
    {
        "errors": set(),
        "clock": set(),
        "model": set(),
        "properties": set(),
        "checks": {"model"},
        "console": {"model"},
        "contract": {"model"},
        "foresight": {"checks", "model"},
        "hygiene": {"model"},
        "inspection": {"model"},
        "recipe": {"model"},
        "plan": {"model", "recipe"},
        "groundwork": {"model", "plan"},
        "schedule": {"plan"},
        "shares": {"plan"},
        "planning": {"errors", "groundwork", "model", "plan", "properties", "recipe"},
        "pruning": set(),
        "releasenotes": {"inspection", "model"},
    },
    # hands: any noun, and of the other hands only those named here
    {
        "document": set(),
        "catalogue": {"document"},
        "artifacts": {"blobs", "files", "origins", "record_shapes", "records", "store"},
        "origins": {"blobs", "cloud"},
        "claims": {"catalogue", "document", "elements"},
        "config": {"catalogue", "document", "named_files", "settings"},
        "settings": {"document"},
        "process": set(),
        "files": set(),
        "blobs": {"files"},
        "runs": {"files"},
        "records": {"record_shapes"},
        "record_shapes": set(),
        "journal": {"files", "record_shapes", "records"},
        "history": {"files", "record_shapes", "records"},
        "published": {"files", "record_shapes", "records"},
        "turns": {"files", "runs", "store"},
        "ledger": {"files", "record_shapes", "records", "runs", "store"},
        "store": {"blobs", "files", "journal", "record_shapes", "records", "runs"},
        "caches": {"files", "record_shapes", "records"},
        "sandbox": {"process", "record_shapes", "records"},
        "element_files": {"element_modes", "files", "record_shapes", "records"},
        "element_modes": set(),
        "element_variables": {"document", "element_files", "elements"},
        "element_lint": {"build_log"},
        "element_environment": set(),
        "elements": {"element_environment", "element_files"},
        "layout": {"document", "elements", "sandbox"},
        "layering": {"element_modes", "elements"},
        "foreign": set(),
        "toolbox_parts": set(),
        "twins": {"build_log", "foreign", "process", "sandbox", "toolbox_parts"},
        "build_log": {"process"},
        "dib": {
            "build_log",
            "foreign",
            "layering",
            "process",
            "record_shapes",
            "records",
            "sandbox",
            "toolbox_parts",
            "twins",
        },
        "formats": {"process"},
        "named_files": set(),
        "outlet": {"sandbox"},
        "provenance": set(),
        "checkouts": {"files"},
        "sources": {"checkouts", "files", "process", "store"},
        "upstream": {"files", "process", "record_shapes", "records"},
        "apt": {"files"},
        "sites": {"blobs", "cloud", "files", "record_shapes", "records", "store"},
        "cloud": set(),
        "interior": {"process", "sandbox"},
        "emulation": set(),
        "acceleration": {"emulation", "files", "record_shapes", "records"},
        "guest": {"emulation", "process"},
        "leftovers": {"files", "process", "sandbox"},
    },
    # drivers: any noun and hand, no other driver
    {
        "engine": set(),
        "capacity": set(),
        "forecast": {"capacity"},
        "making": set(),
        "levels": set(),
        "visit": {"levels"},
        "climb": {"levels", "visit"},
        "trial": {"climb"},
        "gate": {"making", "trial"},
        "worker": {"gate", "making"},
    },
    # faces: everything below, and the faces named here
    {
        "blueprints": set(),
        "selection": set(),
        "supply": set(),
        "freshness": set(),
        "remarks": {"blueprints", "freshness"},
        "outlook": {"blueprints", "freshness", "remarks", "selection", "supply"},
        "account": set(),
        "preflight": set(),
        "session": {"account", "outlook", "preflight", "selection"},
        "overview": {"outlook", "selection"},
        "survey": {"outlook", "selection"},
        "resolution": {"supply"},
        "authoring": set(),
        "checkup": {"supply"},
        "examination": {"selection", "session", "supply"},
        "upkeep": set(),
        "report": {"overview"},
        "outline": {"report"},
        "bars": {"outline", "report"},
        "progress": {"bars", "outline", "report", "session"},
        "metrics": set(),
        "page": {"report"},
        "aftermath": {"metrics", "overview", "page", "upkeep"},
        "production": {"aftermath", "progress", "remarks", "report", "session"},
        "verbs": {
            "authoring",
            "checkup",
            "examination",
            "outline",
            "outlook",
            "overview",
            "production",
            "report",
            "survey",
        }
        | {"upkeep"},
        "completion": set(),
        "views": {"aftermath", "examination", "overview", "report", "resolution", "selection", "survey", "upkeep"},
        "words": set(),
        "cli": {"completion", "verbs", "views", "words"},
        "__main__": {"cli"},
        "__init__": set(),
    },
]


def room(path: Path) -> str:
    """Return the module's name; a package is one room."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> set[str]:
    """Return the rooms of ours that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "cc_images":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cc_images."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("cc_images.")}
    return found - {room(path)}


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_layer_allows(path: Path) -> None:
    name = room(path)
    if name in ("toolbox", "inside"):
        assert not imports(path), "these run on their own"
        return
    level = next((number for number, layer in enumerate(LAYERS) if name in layer), None)
    assert level is not None, f"{name} is in no layer: add it to the table here and in docs/design.md"
    allowed = LAYERS[level][name].union(*LAYERS[:level])
    assert imports(path) <= allowed


def test_only_the_worker_catches_everything_and_only_the_command_line_exits() -> None:
    for path in FILES:
        if room(path) in ("toolbox", "inside"):
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            broad = isinstance(node, ast.ExceptHandler) and (
                node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            )
            assert not broad or room(path) == "worker", f"{path}:{getattr(node, 'lineno', 0)}"
            leaves = isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit"
            assert not leaves or room(path) == "cli", f"{path}:{getattr(node, 'lineno', 0)}"


def test_only_config_reads_yaml() -> None:
    readers = {room(path) for path in FILES if "import yaml" in path.read_text()}
    assert readers == {"document"}
