"""Images of the service where they are used: one for another processor, and the lines to copy of a page."""

from __future__ import annotations

import html
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import httpx
import pytest

from cc_images.host import user_emulation
from cc_images.model.catalog import Arch
from tests.real.conftest import Project
from tests.real.test_container_gate import exits
from tests.real.test_service import start as start
from tests.real.test_service_requests import MISSING, Requests
from tests.real.test_service_requests import project as project
from tests.support.apptainer import Apptainer
from tests.support.registrybed import REASON as NO_REGISTRY
from tests.support.registrybed import RegistryBed
from tests.support.serviceprocess import PASSWORDS, Service, Start, push_untested

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
    pytest.mark.skipif(bool(NO_REGISTRY), reason=NO_REGISTRY or "-"),
]

ARM = {"platform": "linux/arm64", "architecture": "graviton3", "container_engine": "docker", "base": "cc-arm"}
QEMU = "qemu-aarch64-static"


def test_an_image_for_another_processor_is_for_that_one(project: Project, start: Start) -> None:
    if user_emulation.is_foreign(Arch.AMD64) or shutil.which(QEMU) is None:
        pytest.skip(f"needs an amd64 host with {QEMU}")
    folder = project.folder / "containers" / "cc-arm"
    folder.mkdir()
    (folder / "exits").write_bytes(exits(7))
    (folder / "exits").chmod(0o755)
    (folder / "Containerfile").write_text('FROM scratch\nCOPY exits /exits\nENTRYPOINT ["/exits"]\n')
    with (project.folder / "images.yaml").open("a") as catalogue:
        catalogue.write("CC-Arm: {builder: containerfile, formats: [oci], arch: [arm64]}\n")
    service = start()
    said = Requests(service).finished("ada", machine=ARM, workflow="BASE", step_id="BASE")
    assert said["image_id"] == "base--f_base--f_graviton3_nompi_nogpu-arm64:latest"
    (made,) = said["images"]
    (name,) = made["files"]
    assert (made["architecture"], said["filename"]) == ("arm64", None)
    archive = project.folder / name
    archive.write_bytes(service.ask("ada", "GET", f"/images/download/{name}").content)
    shown = subprocess.run(["skopeo", "inspect", f"oci-archive:{archive}"], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["Architecture"] == "arm64"
    tree = project.folder / "tree"
    subprocess.run(["skopeo", "copy", "--quiet", f"oci-archive:{archive}", f"dir:{tree}"], check=True)
    manifest = json.loads((tree / "manifest.json").read_text())
    (layer,) = manifest["layers"]
    with tarfile.open(tree / layer["digest"].partition(":")[2]) as members:
        members.extract("exits", project.folder, filter="fully_trusted")
    assert subprocess.run([QEMU, str(project.folder / "exits")], check=False).returncode == 7
    service.end()


def test_the_lines_of_a_page_are_run_as_they_stand(
    project: Project, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    push_untested(project)
    there = tmp_path_factory.mktemp("there")
    with RegistryBed(project.folder / "registry") as registry:
        sites = project.folder / "sites.yaml"
        sites.write_text(f"reg: {{registry: {registry.host}/hpc, insecure: true}}\n")
        with (project.folder / "images.yaml").open("a") as catalogue:
            catalogue.write("CC-Sif: {builder: containerfile, depends: [CC-Root], formats: [oci, sif]}\n")
        (project.folder / "containers" / "cc-sif").mkdir()
        (project.folder / "containers" / "cc-sif" / "Containerfile").write_text('FROM cc-root\nCMD ["/bin/true"]\n')
        service = start()
        build = service.request("ada", "cc-sif", push=True)
        assert service.wait("ada", build) == "FINISHED", service.ask("ada", "GET", f"/build/{build}/log").text
        (image,) = service.ask("ada", "GET", f"/build/{build}").json()["images"]
        lines = lines_of(service, f"/available/cc-sif/amd64/{image['version']}")
        kinds = [" ".join(line.split()[:2]) for line in lines]
        assert sorted({*kinds}) == ["apptainer pull", "apptainer run", "curl -f", "podman load", "podman pull"], lines
        for line in lines:
            words = shlex.split(line)
            if words[0] == "curl":
                typed(words, PASSWORDS["ada"], there)
                assert (there / words[-1].rpartition("/")[2]).stat().st_size > 0
            elif words[0] == "podman":
                podman(words, there)
        why = by_apptainer([shlex.split(line) for line in lines if line.startswith("apptainer")], there)
        service.end()
    if why:
        pytest.skip(f"all but the lines of Apptainer have passed: {why}")


def lines_of(service: Service, path: str) -> list[str]:
    """Return the lines to copy of a page, as somebody who has logged in sees it."""
    with httpx.Client(base_url=service.address, follow_redirects=True) as client:
        token = re.search(r'name="csrf" value="([^"]+)"', client.get("/login").text)
        assert token is not None
        client.post("/login", data={"csrf": token[1], "name": "ada", "password": PASSWORDS["ada"]})
        page = client.get(path)
    assert page.status_code == 200
    return [html.unescape(each) for each in re.findall(r'<div class="line"><code[^>]*>([^<]*)</code>', page.text)]


def typed(words: list[str], text: str, folder: Path) -> None:
    """Run a command that asks for a password at its terminal, and type it."""
    number, terminal = pty.fork()
    if not number:
        os.chdir(folder)
        os.execvp(words[0], words)
    seen = b""
    deadline = time.monotonic() + 60
    try:
        while b"assword" not in seen and time.monotonic() < deadline:
            seen += os.read(terminal, 1024)
        os.write(terminal, f"{text}\n".encode())
        while os.read(terminal, 1024):
            pass
    except OSError:  # it has ended
        pass
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0, seen


def podman(words: list[str], folder: Path) -> None:
    """Run a line of podman; where it is not installed, its part that is buildah."""
    store = ["--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
    verb = words[1:]
    tool = "podman"
    if shutil.which("podman") is None:
        tool = "buildah"
        verb = ["pull", f"oci-archive:{words[-1]}"] if words[1] == "load" else verb
    done = subprocess.run([tool, *store, *verb], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)
    images = subprocess.run([tool, *store, "images", "--quiet"], cwd=folder, capture_output=True, text=True, check=True)
    assert images.stdout.strip()


def by_apptainer(lines: list[list[str]], folder: Path) -> str:
    """Run lines of Apptainer in the folder of the downloads; return why that is not possible, or an empty text."""
    apptainer = Apptainer(folder)
    if why := apptainer.make():
        return why
    for number, words in enumerate(lines):
        place = folder if words[1] == "run" else folder / f"pulled-{number}"  # two have one name
        place.mkdir(exist_ok=True)
        done = apptainer.run("sh", "-c", f"cd {shlex.quote(str(place))} && {shlex.join(words)}")
        assert done.returncode == 0, (words, done.stderr)
    return ""
