"""What a command of the stand-in has to work with: its settings, its environment, its lock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.standin_spack.faults import Refused
from tests.support.standin_spack.packages import Node

VERSION = "1.2.0.dev0"
FORMAT = 6
"""The version of lock files."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """The settings of one command, those of later scopes first, and its environment's folder."""

    settings: Mapping[str, Any]
    folder: Path | None

    @property
    def environment(self) -> Path:
        """The folder of the environment."""
        if self.folder is None or not (self.folder / "spack.yaml").exists():
            raise Refused(f"no environment in {self.folder}")
        return self.folder

    @property
    def tree(self) -> Path:
        """The folder of packages: padded, if that is set."""
        said = self.settings["config"]["install_tree"]
        root, length = said["root"].rstrip("/"), int(said.get("padded_length", 0))
        return Path((root + "/__spack_path_placeholder__" * 9)[:length].rstrip("/") if length > len(root) else root)

    @property
    def target(self) -> str:
        """The target of all packages."""
        said = self.settings.get("packages", {}).get("all", {})
        required = [each.removeprefix("target=") for each in said.get("require:", ()) if each.startswith("target=")]
        return str([*required, *said.get("target", ()), "x86_64_v3"][0])

    @property
    def mirrors(self) -> list[Mapping[str, Any]]:
        """The mirrors with packages, each with its `folder` and `name`."""
        said = self.settings.get("mirrors", {})
        return [{**each, "name": name, "folder": Path(each["url"].removeprefix("file://"))}
                for name, each in said.items() if each["binary"]]  # fmt: skip

    def locked(self) -> Node | None:
        """Return the environment's lock, if it has one."""
        file = self.environment / "spack.lock"
        if not file.exists():
            return None
        try:
            found: Node = json.loads(file.read_text())
        except ValueError as error:
            raise Refused(str(error), 3) from error
        if (number := found["_meta"]["lockfile-version"]) > FORMAT:
            raise Refused(f"Spack {VERSION} cannot read the lockfile '{file}', using the v{number} format. "
                          "You need to use a newer Spack version.")  # fmt: skip
        return found


def session(scopes: Sequence[str], settings: Sequence[str], folder: str | None) -> Session:
    """Read the configuration of a command."""
    found: dict[str, Any] = {}
    for scope in scopes:
        if not Path(scope).is_dir():
            raise Refused(f"Invalid configuration scope: {scope}")
        for file in Path(scope).glob("*.yaml"):
            found |= json.loads(file.read_text())
    if folder and (file := Path(folder, "spack.yaml")).exists():
        found |= json.loads(file.read_text())["spack"]
    for each in settings:
        *keys, last, value = each.split(":")
        place = found
        for key in keys:
            place = place.setdefault(key, {})
        place[last] = value
    return Session(settings=found, folder=Path(folder) if folder else None)


def nothing_else(words: Sequence[str]) -> None:
    """Refuse words of a command that are left over."""
    if words:
        raise Refused(f"unrecognized arguments: {' '.join(words)}")
