"""The house as it stands: which wing may import which, and the figures of its modules."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cc_images

PACKAGE = Path(cc_images.__file__).parent

EVERYWHERE = frozenset({"errors", "clock"})
"""Modules at the top of the package that every wing may import."""

WINGS: Mapping[str, frozenset[str]] = {
    name: frozenset(may.split())
    for name, may in {
        "model": "",
        "host": "model",
        "config": "model",
        "store": "model host",
        "outputs": "model host",
        "sites": "model host store",
        "boottest": "model host store outputs",
        "sources": "model host store sites.cloud sites.objects",
        "builders": "model host store config sources",
        "planner": "model host store config sources sites.targets boottest.policy"
        " builders.base builders.resolved builders.resolver",
        "engine": "model host store outputs sites sources boottest builders.base",
        "remote": "model host store config sources sites.cloud builders.base engine",
        "report": "model engine.events engine.forecast boottest.contents store.journal",
        "api": "model host config store outputs sites boottest sources builders planner engine remote report",
        "web": "api report config model",
        "cli": "api report config model web",
    }.items()
}
"""What the modules of a wing may import besides those of their own: wings, or single modules of one."""

ALONE = ("toolbox", "boottest.inside")
"""Programs that run on their own and import nothing of cc_images."""


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the package: its dotted name below cc_images, its tree, and the modules of ours that it imports."""

    name: str
    path: Path
    tree: ast.Module
    imports: frozenset[str]

    @property
    def wing(self) -> str:
        """The first part of its name; a module at the top is its own."""
        return self.name.partition(".")[0]

    @property
    def lines(self) -> int:
        """Lines of the file."""
        return len(self.path.read_text().splitlines())


def modules() -> dict[str, Module]:
    """Return the modules of the package by name, without the programs that run on their own.

    Their trees take 120 MB: who has them should not keep them, since each fork of the tests' process copies its tables.
    """
    alone = tuple(f"{each}." for each in ALONE)
    return {name: _module(name, path) for name, path in _paths().items() if not f"{name}.".startswith(alone)}


def _module(name: str, path: Path) -> Module:
    tree = ast.parse(path.read_text())
    return Module(name, path, tree, frozenset(imported(tree, _paths()) - {name}))


@cache
def _paths() -> dict[str, Path]:
    return dict(sorted((_name(path), path) for path in PACKAGE.rglob("*.py")))


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module, known: Collection[str] = ()) -> set[str]:
    """Return what a tree imports of cc_images: modules where they are known, else what stands in the statement."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cc_images":
            base = (node.module or "").partition(".")[2]
            for alias in node.names:
                whole = f"{base}.{alias.name}".lstrip(".")
                found.add(whole if whole in known else base)
        elif isinstance(node, ast.Import):
            found |= {each.name.partition(".")[2] for each in node.names if each.name.startswith("cc_images.")}
    return found - {""}


def forbidden(module: Module) -> list[str]:
    """Return what a module imports and may not."""
    if module.wing not in WINGS:  # errors, clock, and the faces of the package
        allowed = EVERYWHERE if module.name not in ("__main__", "testing") else EVERYWHERE | {*WINGS}
    else:
        allowed = EVERYWHERE | WINGS[module.wing] | {module.wing}
    return sorted(
        each for each in module.imports if not any(each == one or each.startswith(f"{one}.") for one in allowed)
    )


def cycle(every: Mapping[str, Module]) -> list[str]:
    """Return modules that import each other in a circle; empty when there is none."""
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> list[str]:
        state[name] = 1
        path.append(name)
        for each in sorted(every[name].imports & every.keys()):
            if state.get(each) == 1:
                return [*path[path.index(each) :], each]
            if each not in state and (found := visit(each)):
                return found
        path.pop()
        state[name] = 2
        return []

    for name in every:
        if name not in state and (found := visit(name)):
            return found
    return []


def longest_chain(every: Mapping[str, Module]) -> list[str]:
    """Return the longest chain of modules in which each imports the next; empty when some import in a circle."""
    if cycle(every):
        return []
    known: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in known:
            below = [chain(each) for each in sorted((every[name].imports & every.keys()) - EVERYWHERE)]
            known[name] = [name, *max(below, key=len, default=[])]
        return known[name]

    return max((chain(name) for name in every), key=len)


def functions(module: Module) -> Iterator[tuple[str, int, int]]:
    """Yield a module's functions: name, lines, and parameters without `self` and `cls`."""
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            yield f"{module.name}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1, count


def table() -> str:
    """Return who may import whom, as the documents show it."""
    rows = [
        f"| {wing} | {' '.join(f'`{each}`' for each in sorted(may)) or '(nothing)'} |" for wing, may in WINGS.items()
    ]
    return "\n".join(("| wing | may import (besides `errors` and `clock`) |", "|---|---|", *rows)) + "\n"


MOST_LINES, MOST_FUNCTION, MOST_PARAMETERS = 300, 60, 7
"""Lines of a module and of a function, and parameters of a function, that are not exceeded."""


def entries() -> list[str]:
    """Return the wings and modules at the top of the package."""
    found = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()]
    return sorted(path.stem for path in found if not path.name.startswith("__"))


def counted(module: Module) -> set[str]:
    """Return the imports that a module is judged by: values are no dependency that hurts."""
    return {each for each in module.imports if each not in EVERYWHERE and not each.startswith("model.")}
