"""The family of examples/workstations with small packages: built, tried and published unattended, and killed."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from cc_images.host.containers.archive import plain, read
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
INTERACTIVE = tuple(name for name in FAMILY if name.endswith(("-desktop", "-notebook")))
BATCH = tuple(name for name in FAMILY if name not in INTERACTIVE)
SMALL = {
    "python3 python3-venv": "python3-minimal",
    "python3-numpy": "less",
    "python3-sympy": "file",
    "openbox xterm x11-apps tigervnc-standalone-server tigervnc-tools openssh-server supervisor": "bc",
    "jupyter-notebook firefox-esr": "nano",
}

KILLS = 40


@pytest.fixture
def example(project: Project, tiny_root: Path) -> Project:
    """Return a project of the example on a tree of the tests."""
    root = project.folder / "root.tar"
    shutil.copyfile(tiny_root, root)
    subprocess.run(["tar", "--delete", "-f", root, "./etc/resolv.conf"], check=True)  # it names servers of this host
    for name in ("images.yaml", "sites.yaml", "containers"):
        source = REPOSITORY / "examples" / "workstations" / name
        target = project.folder / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    file = project.folder / "images.yaml"
    text = file.read_text().replace("elements: [debian-minimal, cc-container]", "elements: [tiny-os, cc-hygiene]")
    file.write_text(
        text.replace(
            "DIB_RELEASE: bookworm}",
            f'DIB_RELEASE: bookworm}}\n  artifacts: {{DIB_TINY_ROOT: {{url: "{root.as_uri()}"}}}}',
            1,
        )
    )
    project.boots = True
    return project


@pytest.fixture
def workstations(example: Project) -> Project:
    """Return a project of the example with small packages and programs that end."""
    for file in (example.folder / "images.yaml", *(example.folder / "containers").glob("*/Containerfile")):
        text = file.read_text()
        for old, new in SMALL.items():
            text = re.sub(rf"(PACKAGES[=:] ?\"?){old}(?=[\"}}\n])", rf"\g<1>{new}", text)
        text = re.sub(r"import (numpy|sympy); [^\"]*", "print(1)", text)
        text = re.sub(r"container: {ports: .*}", "try: [sh, -c, exit 0]", text)
        text = re.sub(r"  checks:\n(    .*\n)+", "", text)  # of the servers, which only the large packages have
        file.write_text(text)
    (example.folder / "containers/desktop/start.d/50-desktop").write_text("#!/bin/sh\n")
    return example


def test_a_desktop_and_a_notebook_server_serve(example: Project) -> None:
    """The checks of the example are asked of them: VNC and ssh, VNC again after a kill, the notebook, the screen."""
    branch = [name for name in FAMILY if "sympy" not in name]
    code, said = example.run("-b", "-p", "-t", "2", *branch)
    assert code == 0, said
    assert "4 tested" in said
    files = {file.name for file in (example.folder / "published/interactive").glob("*.oci.tar")}
    assert files == {"WS-NumPy-Desktop.oci.tar", "WS-NumPy-Notebook.oci.tar"}
    for name, old, new, wrong in (
        ("supervisor/conf.d/desktop.conf", "autorestart=true", "autorestart=false", "kill -9"),
        ("start.d/50-desktop", "PASSWORD=$(head -c 12 /dev/urandom | base64)", "PASSWORD=secret", "two starts"),
    ):
        file = example.folder / "containers/desktop" / name
        served = file.read_text()
        assert old in served
        file.write_text(served.replace(old, new))
        code, said = example.run("-b", "-p", "ws-numpy-desktop")
        assert code == 3, f"{new}: {said}"
        assert wrong in said
        file.write_text(served)


CUDA = """\
FROM cc-debian12-container
RUN sed -i 's/ main$/ main contrib non-free/' /etc/apt/sources.list \\
 && apt-get update && apt-get install -y --no-install-recommends libcudart11.0
"""


def test_variants_with_cuda_are_built_on_a_base_with_debians_packages(workstations: Project) -> None:
    """No GPU is here: the libraries are there, and what they do is not tried."""
    images = workstations.folder / "images.yaml"
    before, begin, rest = images.read_text().partition("CC-Debian12-Container-CUDA:\n")
    base = f"{begin}  builder: containerfile\n  context: containers/cuda\n  depends: [CC-Debian12-Container]\n"
    images.write_text(f"{before}{base}\nWS-Python:{rest.partition('WS-Python:')[2]}")
    cuda = workstations.folder / "containers/cuda"
    cuda.mkdir()
    (cuda / "Containerfile").write_text(CUDA)
    with RegistryBed(workstations.folder / "registry") as registry:
        (workstations.folder / "sites.yaml").write_text(
            f"lab: {{registry: 127.0.0.1:{registry.port}/ws, insecure: yes, takes: {{use: batch}}}}\n"
        )
        chosen = ("ws-python", "ws-python-cuda12", "ws-numpy-cuda12")
        code, said = workstations.run("-b", "-p", "-t", "2", *chosen)
        assert code == 0, said
        assert {"1.0", "latest", "1.0-cuda12", "latest-cuda12"} <= {*registry.tags("ws/ws-python")}
        assert {"1.0-cuda12", "latest-cuda12"} <= {*registry.tags("ws/ws-numpy")}
    image = read(workstations.store / "images" / "WS-NumPy-cuda12.oci.tar")
    with plain(image.layers[1]) as tar:
        assert any("/libcudart.so.11" in each.name for each in tar)


def test_the_family_is_built_tried_and_published_and_again_only_where_it_changed(workstations: Project) -> None:
    with RegistryBed(workstations.folder / "registry") as registry:
        with (workstations.folder / "sites.yaml").open("a") as sites:
            for use in ("batch", "interactive"):
                where = f"registry: 127.0.0.1:{registry.port}/{use}, takes: {{use: {use}}}"
                sites.write(f"lab-{use}: {{{where}, insecure: yes, contract: [workstation]}}\n")
        code, said = workstations.run("-b", "-p", "-t", "2", *FAMILY)
        assert code == 0, said
        assert "7 built" in said
        for use, names in (("batch", BATCH), ("interactive", INTERACTIVE)):
            tags = {name: {*registry.tags(f"{use}/{name}")} for name in FAMILY}
            assert {name for name in FAMILY if tags[name]} == {*names}
            assert all({"1.0", "latest"} <= tags[name] for name in names)
            files = {file.name for file in (workstations.folder / "published" / use).glob("*.oci.tar")}
            assert files == {f"{name}.oci.tar" for name in NAMES if name.lower() in names}
        code, said = workstations.run("-b", "-p", "-t", "2", *FAMILY)
        assert (code, "28 unchanged" in said) == (0, True), said
        (workstations.folder / "containers/ws-python/start").open("a").write("# a change\n")
        plan = workstations.run("-b", "--dry-run", *FAMILY)[1]
        assert plan.count("convert to oci           run") == 7, "the base has changed, and all that are based on it"
        code, said = workstations.run("-b", "-p", "-t", "2", *FAMILY)
        assert (code, "7 built" in said) == (0, True), said
        assert {*versions(workstations).values()} == {"1.0.1"}, "nobody has raised a version by hand"
        for use, names in (("batch", BATCH), ("interactive", INTERACTIVE)):
            for name in names:
                where = f"127.0.0.1:{registry.port}/{use}/{name}"
                assert {"1.0", "1.0.1", "latest"} <= {*registry.tags(f"{use}/{name}")}
                assert shown(f"{where}:latest") == shown(f"{where}:1.0.1")
                assert shown(f"{where}:1.0.1")["Labels"]["version"] == "1.0.1", "the label is the tag"
                assert shown(f"{where}:1.0")["Labels"]["version"] == "1.0"
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
    raised = {name: "1.0.1" if name in moved else "1.0" for name in FAMILY}
    assert versions(workstations) == raised
    assert workstations.run("-q", "-b", "-f", "-t", "2", *FAMILY)[0] == 0
    after = digests(workstations)
    assert all(after[name] == before[name] for name in set(FAMILY) - moved), "the same bytes once more"
    assert versions(workstations) == raised, "and the same version"
    (workstations.folder / "containers/notebook/browser").open("a").write("# a change\n")
    assert workstations.run("-q", "-b", "-t", "2", *FAMILY)[0] == 0
    leaves = {"ws-numpy-notebook": "1.0.1", "ws-sympy-notebook": "1.0.2"}
    assert versions(workstations) == raised | leaves, "of leaves only they themselves"


def test_the_template_of_the_readme_builds_and_passes(workstations: Project) -> None:
    document = (REPOSITORY / "examples/workstations/README.md").read_text().partition("## Template\n")[2]
    file, entry, readme = (textwrap.dedent(each).strip() + "\n" for each in indented(document))
    context = workstations.folder / "containers" / "ws-mine"
    context.mkdir()
    (context / "Containerfile").write_text(file.replace("PACKAGES", "less"))
    (context / "README.md").write_text(readme)
    assert "my-program" in entry
    with (workstations.folder / "images.yaml").open("a") as images:
        images.write(entry.replace("my-program", "less"))
    code, said = workstations.run("-b", "-p", "ws-mine")
    assert code == 0, said
    image = read(workstations.folder / "published/batch/WS-Mine.oci.tar")
    assert image.configuration.labels["description"] == "What it is for."
    assert image.configuration.labels["name"] == "ws-mine"
    code, said = workstations.run("check", str(context))
    assert (code, "broken" in said) == (0, False), said


def test_kills_at_random_moments_leave_nothing_and_whole_tags(workstations: Project) -> None:
    chosen = random.Random(20)
    with RegistryBed(workstations.folder / "registry") as registry:
        (workstations.folder / "sites.yaml").write_text(
            f"lab: {{registry: 127.0.0.1:{registry.port}/ws, insecure: yes}}\n"
        )
        assert workstations.run("-b", "-p", "-t", "2", "ws-python", "ws-numpy")[0] == 0
        usual = 0.0
        for number in range(KILLS + 1):
            (workstations.folder / "containers/ws-python/start").open("a").write(f"# {number}\n")
            images = workstations.folder / "images.yaml"
            images.write_text(re.sub(r'version: "[^"]*"', f'version: "1.{number}"', images.read_text()))
            if not usual:  # the first one ends: so long a change takes here
                began = time.monotonic()
                code, said = workstations.run("-b", "-p", "-t", "2", "ws-python", "ws-numpy")
                assert code == 0, said
                usual = time.monotonic() - began
                continue
            process = workstations.start("-b", "-p", "-t", "2", "ws-python", "ws-numpy")
            time.sleep(chosen.uniform(0.5, usual))
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
        assert {"latest", f"1.{KILLS}"} <= {*registry.tags("ws/ws-numpy")}
        workstations.assert_no_leftovers()


def indented(text: str) -> list[str]:
    """Return the indented blocks of a document; an empty line with an indented one behind it is part of one."""
    return re.findall(r"(?m)(?:^    .*\n(?:\n(?=    ))?)+", text)


def digests(project: Project) -> dict[str, str]:
    """Return the digest of each image's own layer, by tag."""
    return {name.lower(): read(project.store / "images" / f"{name}.oci.tar").layers[-1].digest for name in NAMES}


def versions(project: Project) -> dict[str, str]:
    """Return the version that each image says by its label, by tag."""
    images = {name: read(project.store / "images" / f"{name}.oci.tar") for name in NAMES}
    return {name.lower(): image.configuration.labels["version"] for name, image in images.items()}


def shown(where: str) -> dict[str, Any]:
    """Return what a registry says of an image."""
    words = ["skopeo", "inspect", "--tls-verify=false", f"docker://{where}"]
    found: dict[str, Any] = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return {name: value for name, value in found.items() if name in ("Digest", "Labels")}
