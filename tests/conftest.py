"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environment(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of the developer's own configuration is in force."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CC_", "DIB_", "ARCH", "XDG_"))}
    return kept | {"HOME": str(home), "CC_IMAGES_STORE": str(home / "store")}


@pytest.fixture(autouse=True)
def any_architecture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let plans not depend on whether the machine of the tests can run foreign programs."""
    if not request.node.get_closest_marker("real"):
        monkeypatch.setattr("cc_images.foreign.runs_programs", lambda arch: True)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return a function that runs `cc-images` in `tmp_path` with a store of its own."""

    def run(*words: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cc_images", *words],
            cwd=cwd,
            env=clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)} | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    return run


def write_files(folder: Path, **texts: str) -> None:
    """Write `images`, `sites` and `third_party` as the YAML files of a project in `folder`."""
    names = {"images": "images.yaml", "sites": "sites.yaml", "third_party": "third-party.yaml"}
    for key, name in names.items():
        (folder / name).write_text(texts.get(key, ""))


def lacking(tools: Sequence[str]) -> str:
    """Return why a real test cannot run here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else ""
