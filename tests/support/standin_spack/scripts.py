"""Scripts of Python, which find what ours use of Spack's own modules."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace

from tests.support.standin_spack.packages import RECIPES
from tests.support.standin_spack.session import Session


class Modifications:
    """What an activated environment changes in a shell."""

    def __init__(self, now: Session) -> None:
        view = now.settings["view"]
        self._first = {"PATH": f"{view}/bin", "MANPATH": f"{view}/share/man", "CMAKE_PREFIX_PATH": view}
        self._folder = str(now.environment)

    def group_by_name(self) -> dict[str, object]:
        """Return something for each variable that changes."""
        return {"SPACK_ENV": [], **self._first}

    def apply_modifications(self, found: dict[str, str]) -> None:
        """Change variables."""
        found |= {name: f"{first}:{found[name]}" for name, first in self._first.items()} | {"SPACK_ENV": self._folder}


def python(now: Session, words: Sequence[str]) -> None:
    """Run a script that finds of Spack's modules what our scripts use."""
    parts: dict[str, dict[str, object]] = {
        "config": {"get": lambda section: now.settings.get(section, {})},
        "repo": {"PATH": SimpleNamespace(is_virtual=lambda name: name not in RECIPES)},
        "environment": {"active_environment": lambda: now,
                        "shell": SimpleNamespace(activate=Modifications)},
    }  # fmt: skip
    spack = sys.modules["spack"] = ModuleType("spack")
    for name, content in parts.items():
        module = sys.modules[f"spack.{name}"] = ModuleType(f"spack.{name}")
        vars(module).update(content)
        setattr(spack, name, module)
    sys.argv = [*words]
    runpy.run_path(words[0], run_name="__main__")
