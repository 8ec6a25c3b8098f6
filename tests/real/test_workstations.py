"""The family of examples/workstations with small packages: built, tried and published unattended, and killed."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cc_images.host.containers.archive import read
from tests.conftest import REPOSITORY
from tests.real.conftest import Project
from tests.support.containers import lacking
from tests.support.registrybed import REASON as NO_REGISTRY
from tests.support.registrybed import RegistryBed

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(shutil.which("buildah") is None, reason="needs buildah"),
    pytest.mark.skipif(bool(lacking()), reason=f"needs {lacking()}"),
    pytest.mark.skipif(bool(NO_REGISTRY), reason=NO_REGISTRY or "it can run"),
]

NAMES = ("WS-Python", *(f"WS-{which}{part}" for which in ("NumPy", "SymPy") for part in ("", "-Desktop", "-Notebook")))
FAMILY = tuple(map(str.lower, NAMES))
SMALL = {
    "python3 python3-venv": "python3-minimal",
    "python3-numpy": "less",
    "python3-sympy": "file",
    "openbox xterm tigervnc-standalone-server tigervnc-tools openssh-server supervisor": "bc",
    "jupyter-notebook": "nano",
}

KILLS = 40


@pytest.fixture
def workstations(project: Project, tiny_root: Path) -> Project:
    """Return a project of the example, with small packages and programs that end, on a tree of the tests."""
    root = project.folder / "root.tar"
    shutil.copyfile(tiny_root, root)
    subprocess.run(["tar", "--delete", "-f", root, "./etc/resolv.conf"], check=True)  # it names servers of this host
    for name in ("images.yaml", "sites.yaml", "containers"):
        source = REPOSITORY / "examples" / "workstations" / name
        target = project.folder / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    for file in (project.folder / "images.yaml", *(project.folder / "containers").glob("*/Containerfile")):
        text = file.read_text()
        for old, new in SMALL.items():
            text = re.sub(rf"(PACKAGES[=:] ?\"?){old}(?=[\"}}\n])", rf"\g<1>{new}", text)
        text = text.replace("elements: [debian-minimal, cc-container]", "elements: [tiny-os, cc-hygiene]")
        text = text.replace(
            "DIB_RELEASE: bookworm}",
            f'DIB_RELEASE: bookworm}}\n  artifacts: {{DIB_TINY_ROOT: {{url: "{root.as_uri()}"}}}}',
            1,
        )
        text = re.sub(r"import (numpy|sympy); [^\"]*", "print(1)", text)
        text = re.sub(r"container: {ports: .*}", "try: [sh, -c, exit 0]", text)
        file.write_text(text)
    (project.folder / "containers/desktop/start.d/50-desktop").write_text("#!/bin/sh\n")
    project.boots = True
    return project


def test_the_family_is_built_tried_and_published_and_again_only_where_it_changed(workstations: Project) -> None:
    with RegistryBed(workstations.folder / "registry") as registry:
        with (workstations.folder / "sites.yaml").open("a") as sites:
            sites.write(f"lab: {{registry: 127.0.0.1:{registry.port}/ws, insecure: yes, contract: [workstation]}}\n")
        code, said = workstations.run("-b", "-p", "-t", "2", *FAMILY)
        assert code == 0, said
        assert "7 built" in said
        digests = {name: registry.tags(f"ws/{name}") for name in FAMILY}
        assert all({"1.0", "latest"} <= {*tags} for tags in digests.values())
        code, said = workstations.run("-b", "-p", "-t", "2", *FAMILY)
        assert (code, "28 unchanged" in said) == (0, True), said
        (workstations.folder / "containers/ws-python/start").open("a").write("# a change\n")
        plan = workstations.run("-b", "--dry-run", *FAMILY)[1]
        assert plan.count("convert to oci           run") == 7, "the base has changed, and all that are based on it"
    assert "cuda12" in workstations.run("list", "ws-*")[1]


def test_a_change_of_one_framework_builds_it_and_its_two_children(workstations: Project) -> None:
    assert workstations.run("-q", "-b", "-t", "2", *FAMILY)[0] == 0
    before = digests(workstations)
    images = workstations.folder / "images.yaml"
    images.write_text(images.read_text().replace("PACKAGES: file", "PACKAGES: tree"))
    code, said = workstations.run("-b", "-t", "2", *FAMILY)
    assert (code, "3 built, 4 unchanged" in said) == (0, True), said
    moved = {name for name, digest in digests(workstations).items() if digest != before[name]}
    assert moved == {"ws-sympy", "ws-sympy-desktop", "ws-sympy-notebook"}
    assert workstations.run("-q", "-b", "-f", "-t", "2", *FAMILY)[0] == 0
    after = digests(workstations)
    assert all(after[name] == before[name] for name in set(FAMILY) - moved), "the same bytes once more"


def test_kills_at_random_moments_leave_nothing_and_whole_tags(workstations: Project) -> None:
    chosen = random.Random(20)
    with RegistryBed(workstations.folder / "registry") as registry:
        (workstations.folder / "sites.yaml").write_text(
            f"lab: {{registry: 127.0.0.1:{registry.port}/ws, insecure: yes}}\n"
        )
        for number in range(KILLS):
            (workstations.folder / "containers/ws-python/start").open("a").write(f"# {number}\n")
            images = workstations.folder / "images.yaml"
            images.write_text(re.sub(r'version: "[^"]*"', f'version: "1.{number}"', images.read_text()))
            process = workstations.start("-b", "-p", "-t", "2", "ws-python", "ws-numpy")
            time.sleep(chosen.uniform(1, 60))
            process.kill()
            process.communicate()
            workstations.assert_nothing_leaked()
            for name in ("ws-python", "ws-numpy"):
                for tag in registry.tags(f"ws/{name}"):
                    where = f"docker://127.0.0.1:{registry.port}/ws/{name}:{tag}"
                    subprocess.run(
                        ["skopeo", "inspect", "--raw", "--tls-verify=false", where], check=True, capture_output=True
                    )
        code, said = workstations.run("-b", "-p", "-t", "2", "ws-python", "ws-numpy")
        assert code == 0, said
        assert {"latest", f"1.{KILLS - 1}"} <= {*registry.tags("ws/ws-numpy")}
        workstations.assert_no_leftovers()


def digests(project: Project) -> dict[str, str]:
    """Return the digest of each image's own layer, by tag."""
    return {name.lower(): read(project.store / "images" / f"{name}.oci.tar").layers[-1].digest for name in NAMES}
