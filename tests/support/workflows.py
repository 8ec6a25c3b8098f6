"""A git repository of workflows, as requests for images are made of it."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
import zipfile
from functools import cache
from pathlib import Path


class Workflows:
    """A repository at `folder`, new or there already, whose steps are written and committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.exists():
            folder.mkdir(parents=True)
            self.git("init", "--quiet", "--template=", "--initial-branch", "main")

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


def with_one_step(folder: Path) -> Workflows:
    """Return a repository whose version v1 has the step flow/one."""
    for name, content in _one_step():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return Workflows(folder)


@cache
def _one_step() -> list[tuple[Path, bytes]]:
    """Return the files of such a repository, which git makes once: most tests take less time than that."""
    with tempfile.TemporaryDirectory() as folder:
        made = Workflows(Path(folder, "made"))
        made.write("flow/one", eflows4hpc__yaml="apt: [less]\n")
        made.commit(tag="v1")
        return [(each.relative_to(made.folder), each.read_bytes())
                for each in made.folder.rglob("*") if each.is_file()]  # fmt: skip


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
