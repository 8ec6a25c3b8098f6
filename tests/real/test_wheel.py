"""The wheel: installed into an empty environment and run from an empty folder, it has everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY, clean_environment


def test_the_wheel_carries_catalogue_elements_and_toolbox(tmp_path: Path) -> None:
    def run(*words: str | Path, cwd: Path = tmp_path) -> str:
        said = subprocess.run(words, cwd=cwd, env=clean_environment(tmp_path), capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        return said.stdout

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, REPOSITORY)
    wheel = next(tmp_path.glob("cc_images-*.whl"))
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv/bin/pip", "install", "--quiet", wheel)
    empty = tmp_path / "empty"
    empty.mkdir()
    cc_images = tmp_path / "venv/bin/cc-images"
    assert "cc-debian12" in run(cc_images, "list", cwd=empty)
    assert "build                    run     never built" in run(cc_images, "plan", "cc-debian12", cwd=empty)
    data = next((tmp_path / "venv/lib").glob("python*/site-packages/cc_images"))
    for hook in [data / "data/elements/cc-hygiene/cleanup.d/90-cc-hygiene", data / "toolbox/kpartx"]:
        assert hook.stat().st_mode & 0o111, f"{hook.name} is executable"
    static = data / "data/elements/cc-openstack/static"
    assert (static / "usr/bin/cc-openrc").stat().st_mode & 0o111
    assert (data / "data/elements/cc-ssh/checks.yaml").is_file()
    for name in ("templates/base.html", "static/style.css", "static/live.js", "static/icon.svg"):
        assert (data / "web/pages" / name).is_file(), name
    assert list(empty.iterdir()) == []
