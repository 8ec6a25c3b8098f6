"""Requests for machines over HTTP, for real: two accounts, a step of a workflow, and a SIF file that Apptainer runs."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import REPOSITORY, clean_environment, write_files
from tests.real.conftest import Project
from tests.real.test_service import start as start
from tests.support.apptainer import Apptainer
from tests.support.containers import BUSYBOX
from tests.support.serviceprocess import OVER, PASSWORDS, Service, Start
from tests.support.workflows import Workflows
from tests.unit.web.client.test_client_commands import WITHOUT

TOOLS = ("buildah", "tar2sqfs", "sqfs2tar", "busybox")
MISSING = [each for each in TOOLS if shutil.which(each) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

MACHINES = "other: {platform: linux/amd64, architecture: rome, container-engine: docker, base: cc-root}\n"

SCRIPT = """\
#!/bin/sh
set -eu
sleep 3
echo "for $MACHINE_ARCHITECTURE, {}" > /opt/machine
"""

ENV = """\
#!/bin/sh
case $1 in --chdir=*) cd "${1#--chdir=}"; shift ;; esac
exec /bin/busybox env "$@"
"""
"""That of busybox does not change folders."""

ORDER = ("PENDING", "STARTED", "BUILDING", "CONVERTING", "FINISHED")

MACHINE = {"platform": "linux/amd64", "architecture": "x86_64_v3", "container_engine": "apptainer", "base": "cc-root"}
NAME = "flow_plain_x86__64__v3_nompi_nogpu"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Return a project with one small image to start from, with busybox, and two machines."""
    write_files(
        tmp_path, images="CC-Root: {builder: containerfile, formats: [oci]}\n", sites="local: {directory: site}"
    )
    root = tmp_path / "containers" / "cc-root" / "root"
    for name in ("bin", "opt", "tmp", "usr"):
        (root / name).mkdir(parents=True)
    assert BUSYBOX is not None
    shutil.copy(BUSYBOX, root / "bin" / "busybox")
    for name in ("sh", "rm", "sleep", "cat", "mkdir", "true"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "usr" / "bin").symlink_to("../bin")
    (root / "bin" / "env").write_text(ENV)
    (root / "bin" / "env").chmod(0o755)
    (root.parent / "Containerfile").write_text("FROM scratch\nCOPY root/ /\n")
    (tmp_path / "machines.yaml").write_text(MACHINES)
    made = Project(tmp_path, clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)})
    yield made
    made.assert_nothing_leaked()


@pytest.fixture
def workflows(project: Project) -> Workflows:
    """Return a repository of workflows that the project's settings name."""
    made = Workflows(project.folder / "workflows")
    settings = project.folder / "settings.yaml"
    settings.write_text(f"workflows: {{repo: '{made.address}'}}\n")
    project.environment["CC_IMAGES_SETTINGS"] = str(settings)
    return made


class Requests:
    """The requests of a test."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def post(self, who: str, **said: Any) -> dict[str, Any]:
        body = {"machine": MACHINE, "workflow": "flow", "step_id": "plain", **said}
        answer = self.service.ask(who, "POST", "/build/", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def states(self, who: str, build: str, seconds: float = 600) -> list[str]:
        """Wait until a build is over; return the states that were seen, each once."""
        seen: list[str] = []
        deadline = time.monotonic() + seconds
        while not seen or seen[-1] not in OVER:
            assert time.monotonic() < deadline, seen
            if (now := self.service.status(who, build)) not in seen[-1:]:
                seen.append(now)
            time.sleep(0.05)
        return seen

    def finished(self, who: str, **said: Any) -> dict[str, Any]:
        """Request an image; return the build when it is over."""
        build = self.post(who, **said)["id"]
        self.states(who, build)
        found: dict[str, Any] = self.service.ask(who, "GET", f"/build/{build}").json()
        assert found["status"] == "FINISHED", found
        return found


def downloaded(service: Service, who: str, name: str) -> tuple[bytes, str]:
    """Download a file with a connection that is cut at half of it; return its bytes and promised digest."""
    path = f"/images/download/{name}"
    head = service.ask(who, "HEAD", path).headers
    size, found = int(head["content-length"]), b""
    assert head["content-disposition"] == f'attachment; filename="{name}"'
    with httpx.stream("GET", service.address + path, auth=(who, PASSWORDS[who])) as answer:
        for chunk in answer.iter_bytes(1 << 16):
            found += chunk
            if len(found) >= size // 2:
                break
    headers = {"range": f"bytes={len(found)}-", "if-range": head["etag"]}
    rest = service.ask(who, "GET", path, headers=headers)
    assert rest.status_code == 206
    return found + rest.content, head["etag"].strip('"')


def words_of(sif: bytes, folder: Path) -> str:
    """Return the text that the step has written into a SIF file."""
    squashed = folder / "sif.sqfs"
    squashed.write_bytes(sif[sif.index(b"hsqs") :])
    tree = subprocess.run(["sqfs2tar", str(squashed)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tree)) as found:
        file = found.extractfile("opt/machine")
        assert file is not None
        return file.read().decode()


def test_two_accounts_request_an_image_for_a_machine(
    project: Project, workflows: Workflows, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workflows.write("flow/plain", post_inst__sh=SCRIPT.format("first"))
    first = workflows.commit(tag="v1.0")
    service = start()
    requests = Requests(service)
    build = requests.post("ada")["id"]
    assert service.ask("bob", "GET", f"/build/{build}").status_code == 404
    assert service.wait("ada", build, "BUILDING") == "BUILDING"
    log = service.ask("ada", "GET", f"/build/{build}/log")
    assert log.status_code == 200
    assert requests.post("bob") == {"id": build, "joined": True}, "it is bob's, too, as it was his request"
    seen = requests.states("ada", build)
    assert seen[-1] == "FINISHED", service.ask("ada", "GET", f"/build/{build}").text
    assert seen == sorted(seen, key=ORDER.index)
    said = service.ask("ada", "GET", f"/build/{build}").json()
    assert (said["image_id"], said["request"]["commit"]) == (f"{NAME}:latest", first)
    assert said["filename"] == f"{NAME}-{said['images'][0]['version']}.sif"
    assert {f"build {NAME} amd64", f"convert {NAME} amd64"} <= said["tasks"].keys()
    assert "FROM" in service.ask("ada", "GET", f"/build/{build}/log").text, "the log has what the build prints"

    sif, digest = downloaded(service, "ada", said["filename"])
    record = json.loads(
        (project.store / "builds" / NAME / "amd64" / f"{said['images'][0]['version']}.json").read_text()
    )
    assert hashlib.sha256(sif).hexdigest() == digest == record["outputs"]["sif"]["digest"]
    assert words_of(sif, project.folder) == "for x86_64_v3, first\n"
    assert downloaded(service, "bob", said["filename"])[1] == digest
    lacking = run(sif, said["filename"], tmp_path_factory.mktemp("apptainer"))

    again = requests.finished("bob")
    assert (again["id"] == build, again["filename"]) == (False, said["filename"]), "there was nothing to build"
    assert not any(each == "done" for task, each in again["tasks"].items() if task.startswith(("build", "convert")))
    check_what_is_new(requests, workflows, said["filename"])
    service.end()
    project.assert_no_leftovers()
    if lacking:
        pytest.skip(f"all but the run by Apptainer has passed: {lacking}")


LIBRARY = """\
import os, sys, threading
from pathlib import Path
sys.modules.update(dict.fromkeys({without!r}))
from cc_images.api.requests import build_request, read_request
from cc_images.config.loader import load
from cc_images.testing import Silent
config = load(os.environ, Path.cwd())
made = build_request(read_request(Path("request.json"), config.machines), config, Silent(), stop=threading.Event())
print(made.identifier)
"""


def test_a_program_builds_what_a_file_requests_without_a_service(project: Project, workflows: Workflows) -> None:
    """No library of the service is there, no database is made, and nothing connects to the registry of the sites."""
    workflows.write("flow/plain", post_inst__sh=SCRIPT.format("first"))
    workflows.commit()
    asked = {"machine": MACHINE, "workflow": "flow", "step_id": "plain", "push": False}
    (project.folder / "request.json").write_text(json.dumps(asked))
    with socket.create_server(("127.0.0.1", 0)) as registry:
        registry.setblocking(False)
        address = f"127.0.0.1:{registry.getsockname()[1]}"
        (project.folder / "sites.yaml").write_text(f"reg: {{registry: {address}/hpc, insecure: true}}\n")
        done = subprocess.run(
            [sys.executable, "-c", LIBRARY.format(without=WITHOUT)], cwd=project.folder, env=project.environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, f"{NAME}:latest\n"), done.stderr
        with pytest.raises(BlockingIOError):
            registry.accept()
    (sif,) = (project.store / "images").glob(f"{NAME}*.sif")
    assert words_of(sif.read_bytes(), project.folder) == "for x86_64_v3, first\n"
    assert not list(project.store.glob("service*"))
    project.assert_no_leftovers()


def check_what_is_new(requests: Requests, workflows: Workflows, before: str) -> None:
    """Check that latest means latest, that a tag stays, and that what one account alone has made is its own."""
    service = requests.service
    workflows.write("flow/plain", post_inst__sh=SCRIPT.format("second"))
    newest = workflows.commit()
    said = requests.finished("ada")
    assert (said["request"]["commit"], said["filename"] == before) == (newest, False)
    sif, _ = downloaded(service, "ada", said["filename"])
    assert words_of(sif, service.project.folder) == "for x86_64_v3, second\n"
    for path in (f"/build/{said['id']}", f"/build/{said['id']}/log", f"/images/download/{said['filename']}"):
        assert service.ask("bob", "GET", path).status_code == 404, path
    assert said["filename"] not in [each["file"] for each in service.ask("bob", "GET", "/images").json()]
    forced = requests.finished("ada", machine="other", force=True)
    assert forced["image_id"] == "flow_plain_rome_nompi_nogpu:latest"
    assert forced["filename"] is None, "docker takes no SIF file"
    assert [each.endswith(".oci.tar") for each in forced["images"][0]["files"]] == [True]
    again = requests.finished("ada", machine="other", force=True)
    assert again["tasks"]["build flow_plain_rome_nompi_nogpu amd64"] == "done", "it was built again"
    rows = service.ask("ada", "GET", "/images").json()
    assert len({each["sha256"] for each in rows if each["image"] == "flow_plain_rome_nompi_nogpu"}) == 1, (
        "the same bytes"
    )
    failed = requests.post("ada", step_id="nothing")["id"]
    assert requests.states("ada", failed)[-1] == "FAILED"
    found = service.ask("ada", "GET", f"/build/{failed}").json()
    assert "the repository of workflows has no folder flow/nothing" in found["message"]
    assert any("no folder flow/nothing" in line for line in found["log_tail"])
    assert found["run"] is None


def run(sif: bytes, name: str, folder: Path) -> str:
    """Run a SIF file by the real Apptainer; return why that cannot be had, or an empty text."""
    apptainer = Apptainer(folder)
    if why := apptainer.make():
        return why
    (folder / name).write_bytes(sif)
    done = apptainer.run("apptainer", "exec", str(folder / name), "cat", "/opt/machine")
    assert (done.returncode, done.stdout) == (0, "for x86_64_v3, first\n"), done.stderr
    return ""
