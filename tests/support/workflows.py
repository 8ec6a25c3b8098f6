"""A git repository of workflows, as requests for images are made of it."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from pathlib import Path


class Workflows:
    """A repository at `folder`, whose steps are written and committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch", "main")

    @property
    def address(self) -> str:
        """Its address."""
        return self.folder.as_uri()

    def write(self, step: str, **files: str | bytes) -> Path:
        """Write files of a step; the names' first double underscore is the dot before the ending."""
        place = self.folder / step
        place.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            file = place / name.replace("__", ".")
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def commit(self, tag: str = "") -> str:
        """Commit all files; return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "steps")
        if tag:
            self.git("tag", tag)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *words: str) -> str:
        """Run git in the repository."""
        person = {f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = os.environ | person | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        command = ["git", "-C", str(self.folder), *words]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def wheel(name: str, said: str) -> bytes:
    """Return a wheel with one module that says something."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr(f"{name}.py", f"said = {said!r}\n")
        about = f"{name}-1.0.dist-info"
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{about}/RECORD", "")
    return made.getvalue()
