"""The wheel: installed into an empty environment and run from an empty folder, it has everything."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, clean_environment, lacking, write_files
from tests.support.containers import BUSYBOX

PASSWORD = "correct horse battery"


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


@pytest.mark.skipif(bool(why := lacking(("buildah",))), reason=why or "-")
def test_an_installed_service_builds_an_image_without_docker(tmp_path: Path) -> None:
    """In an environment that pip alone has made: an account, the service, and one image that is downloaded."""
    environment = clean_environment(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(f"#!/bin/sh\ntouch {tmp_path}/docker-was-called\nexit 1\n")
    (tmp_path / "bin" / "docker").chmod(0o755)
    environment["PATH"] = f"{tmp_path}/bin:{environment['PATH']}"
    place = tmp_path / "place"
    place.mkdir()

    def run(*words: str | Path) -> None:
        said = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, REPOSITORY)
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv/bin/pip", "install", "--quiet", f"{next(tmp_path.glob('cc_images-*.whl'))}[service]")
    write_files(place, images="CC-Root: {builder: containerfile, formats: [oci]}\n", sites="local: {directory: site}")
    assert BUSYBOX is not None
    (place / "containers/cc-root").mkdir(parents=True)
    shutil.copy(BUSYBOX, place / "containers/cc-root/busybox")
    (place / "containers/cc-root/Containerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\n")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    program = tmp_path / "venv/bin/cc-images"
    run(program, "account", "add", "ada", "--password-file", tmp_path / "password")
    words: list[str | Path] = [program, "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(words, cwd=place, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            built(process.stdout.readline().split()[-1])
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not (tmp_path / "docker-was-called").exists()


def built(address: str) -> None:
    """Have a service build the image, and download it."""

    def ask(path: str, said: Any = None) -> bytes:
        login = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
        headers = {"authorization": f"Basic {login}", "content-type": "application/json"}
        content = json.dumps(said).encode() if said is not None else None
        with urllib.request.urlopen(urllib.request.Request(address + path, content, headers), timeout=60) as answer:
            found: bytes = answer.read()
            return found

    build = json.loads(ask("/build/", {"images": ["cc-root"]}))["id"]
    deadline = time.monotonic() + 300
    while (found := json.loads(ask(f"/build/{build}")))["status"] not in ("FINISHED", "FAILED"):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    assert found["status"] == "FINISHED", found
    assert len(ask(f"/images/download/{found['filename']}")) > 100_000
