"""Images by request, for real: apt, pip and a script on a small Debian, as a SIF file that Apptainer runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cc_images.host.containers.archive import Image, read
from tests.conftest import lacking
from tests.real.conftest import CATALOGUE, Project, host_mirrors
from tests.support.apptainer import Apptainer
from tests.support.registrybed import REASON as NO_REGISTRY
from tests.support.registrybed import RegistryBed
from tests.support.workflows import Workflows, wheel

TOOLS = ("buildah", "tar2sqfs", "unsquashfs")
MISSING = [each for each in TOOLS if shutil.which(each) is None]
NO_EMULATION = lacking(("qemu-aarch64-static", "skopeo", "mmdebstrap"))
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

ROOT = """\
CC-Root: {elements: [tiny-os], formats: [oci], artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}}
"""

MACHINES = """\
cube: {platform: linux/amd64, architecture: x86_64_v3, container-engine: singularity, mpi: openmpi@4, base: cc-root}
desk: {platform: linux/amd64, architecture: haswell, container-engine: podman, base: cc-root}
other: {platform: linux/amd64, architecture: rome, container-engine: docker, base: cc-root}
"""

SCRIPT = """\
#!/bin/bash
set -eu
[[ -e requirements.txt ]]
printf '%s\\n' "$MACHINE_ARCHITECTURE" "$CFLAGS" "$MACHINE_MPI" > /opt/machine
"""

NAME = "minimal__workflow_wordcount_x86__64__v3_openmpi-4_nogpu"
DESK = "minimal__workflow_wordcount_haswell_nompi_nogpu"


@pytest.fixture
def workflows(project: Project) -> Workflows:
    """Return a repository with one step, for a project with two machines."""
    catalogue = project.folder / "images.yaml"
    root = catalogue.read_text().partition('{url: "')[2].partition('"')[0]
    catalogue.write_text((CATALOGUE + ROOT).replace("TINY_ROOT_URL", root))
    (project.folder / "machines.yaml").write_text(MACHINES)
    made = Workflows(project.folder / "workflows")
    step = made.write(
        "minimal_workflow/wordcount",
        eflows4hpc__yaml="apt: [less]\n",
        requirements__txt="./greeting-1.0-py3-none-any.whl\n",
        post_inst__sh=SCRIPT,
    )
    (step / "greeting-1.0-py3-none-any.whl").write_bytes(wheel("greeting", "hello from a wheel"))
    settings = project.folder / "settings.yaml"
    settings.write_text(f"workflows: {{repo: '{made.address}'}}\n")
    project.environment["CC_IMAGES_SETTINGS"] = str(settings)
    return made


def request(project: Project, **said: object) -> str:
    """Write a request; return its file's name."""
    name = "request.json"
    asked = {"machine": "cube", "workflow": "minimal_workflow", "step_id": "wordcount", **said}
    (project.folder / name).write_text(json.dumps(asked))
    return name


def made(project: Project, name: str, *words: str) -> dict[str, Any]:
    """Carry out a request; return what is said of it."""
    process = project.start("build-request", name, "--json", *words)
    output, _ = process.communicate(timeout=1500)
    assert process.returncode == 0, output
    found: dict[str, Any] = json.loads(output[output.rindex("\n{\n") :] if "\n{\n" in output else output)
    return found


def archive(project: Project, name: str) -> Image:
    return read(project.store / "images" / f"{name}.oci.tar")


@pytest.mark.deep
def test_a_request_becomes_a_sif_file_that_apptainer_runs(
    project: Project, workflows: Workflows, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = workflows.commit(tag="v1.0")
    out = project.folder / "out"
    out.mkdir()
    said = made(project, request(project), "-o", str(out))
    assert (said["image"], said["commit"], said["built"]) == (f"{NAME}:latest", first, True)
    sif = out / f"{NAME}_latest.sif"
    assert said["files"]["sif"] == str(sif)
    assert archive(project, NAME).configuration.labels["org.opencontainers.image.revision"] == first
    inside(sif, tmp_path_factory.mktemp("apptainer"))
    again = made(project, request(project))
    assert (again["built"], again["commit"], again["files"].keys()) == (False, first, {"oci", "sif"})
    project.assert_no_leftovers()


@pytest.mark.deep
def test_only_a_reason_builds_again_and_machines_share_what_they_can(project: Project, workflows: Workflows) -> None:
    first = workflows.commit(tag="v1.0")
    assert made(project, request(project, machine="desk"))["built"]
    desk = archive(project, DESK)
    assert not made(project, request(project, machine="desk"))["built"]
    assert made(project, request(project, machine="desk", force=True))["built"]
    assert archive(project, DESK) == desk, "the same bytes once more"

    other = made(project, request(project, machine="other"))
    assert (other["built"], other["files"].keys()) == (True, {"oci"})
    rome = archive(project, DESK.replace("haswell", "rome"))
    assert [each.digest for each in rome.layers[:2]] == [each.digest for each in desk.layers[:2]], "base and packages"
    assert len(rome.layers) == len(desk.layers) == 3
    assert len([*project.store.glob("layers/cc-root-packages-*/amd64/*.json")]) == 1, "installed once"

    workflows.write("another/step", eflows4hpc__yaml="apt: []\n")
    workflows.commit()
    assert not made(project, request(project, machine="desk"))["built"], "no other step is a reason"
    workflows.write("minimal_workflow/wordcount", post_inst__sh=f"{SCRIPT}echo more > /opt/more\n")
    newest = workflows.commit()
    said = made(project, request(project, machine="desk"))
    assert (said["built"], said["commit"]) == (True, newest), "latest means latest"
    said = made(project, request(project, machine="desk", version="v1.0"))
    assert (said["image"], said["commit"]) == (f"{DESK}:v1.0", first)
    project.assert_no_leftovers()


def inside(sif: Path, folder: Path) -> None:
    """Check what a SIF file has: by Apptainer where it can be had, else by looking into it."""
    apptainer = Apptainer(folder)
    if apptainer.make():
        tree, content = folder / "tree", sif.read_bytes()
        offset = str(content.index(b"hsqs"))
        command = ["unsquashfs", "-quiet", "-offset", offset, "-dest", str(tree), str(sif)]
        subprocess.run(command, check=True, capture_output=True)
        assert (tree / "opt/machine").read_text().splitlines()[0] == "x86_64_v3"
        assert (tree / "usr/bin/mpirun").exists()
        return
    own = folder / sif.name
    shutil.copy(sif, own)

    def says(*words: str) -> str:
        done = apptainer.run("apptainer", "exec", str(own), *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert says("cat", "/opt/machine").splitlines() == ["x86_64_v3", "-O2 -march=x86-64-v3", "openmpi@4"]
    assert says("python3", "-c", "import greeting; print(greeting.said)") == "hello from a wheel\n"
    assert "Open MPI) 4." in says("mpirun", "--version")
    libraries = says("find", "/usr/lib", "-type", "f", "-name", "libmpi*.so.*").split()
    assert len([each for each in libraries if re.search(r"/libmpi(ch)?\.so", each)]) == 1, "one MPI"
    assert "less " in says("less", "--version")
    assert says("ls", "/opt") == "machine\n", "the step's folder is not in the image"


def test_the_base_image_for_a_machine_and_a_folder_of_ones_own(project: Project, workflows: Workflows) -> None:
    machine = {"platform": "linux/amd64", "architecture": "skylake", "container_engine": "podman", "base": "cc-root"}
    said = made(project, request(project, machine=machine, workflow="BASE", step_id="BASE"))
    assert said["image"] == "base--f_base--f_skylake_nompi_nogpu:latest"
    base = archive(project, "base--f_base--f_skylake_nompi_nogpu")
    assert len(base.layers) == 1
    own = project.folder / "own"
    own.mkdir()
    (own / "post_inst.sh").write_text("echo own > /opt/own\n")
    said = made(project, request(project, machine=machine, path="own", push=False))
    assert (said["commit"], said["built"]) == ("", True)
    name = said["image"].partition(":")[0]
    assert archive(project, name).layers[0].digest == base.layers[0].digest
    singularity = request(project, machine={**machine, "container_engine": "singularity"}, path="own")
    said = made(project, singularity)
    assert (said["built"], sorted(said["files"])) == (False, ["oci", "sif"]), "only the SIF file was missing"
    assert not project.site.exists(), "no site was asked"
    project.assert_no_leftovers()


@pytest.mark.skipif(bool(NO_EMULATION), reason=NO_EMULATION or "it can run")
def test_an_image_for_another_platform_is_of_it_and_runs_there(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The step's script is run by emulation, on a base that has a few programs of Debian's arm64 alone."""
    box = project.folder / "containers" / "cc-box"
    box.mkdir(parents=True)
    options = ["--variant=extract", "--mode=root", "--architectures=arm64", "--include=coreutils,dash", "--quiet"]
    mirror = host_mirrors().get("DIB_DEBIAN_DISTRIBUTION_MIRROR", "")
    words = ["mmdebstrap", *options, "bookworm", str(box / "root.tar"), *([mirror] if mirror else [])]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    (box / "Containerfile").write_text("FROM scratch\nADD root.tar /\n")
    with (project.folder / "images.yaml").open("a") as catalogue:
        catalogue.write('CC-Box: {builder: containerfile, arch: [arm64], version: "1"}\n')
    step = project.folder / "step"
    step.mkdir()
    script = '#!/bin/sh\nset -eu\nuname -m > /opt/machine\necho "$MACHINE_ARCHITECTURE" >> /opt/machine\n'
    (step / "post_inst.sh").write_text(script)
    machine = {"platform": "linux/arm64", "architecture": "neoverse_n1", "base": "cc-box"}
    asked = request(project, machine={**machine, "container_engine": "singularity"}, path="step", push=False)
    said = made(project, asked)
    assert said["image"] == "minimal__workflow_wordcount_neoverse__n1_nompi_nogpu-arm64:latest"
    words = ["skopeo", "inspect", f"oci-archive:{said['files']['oci']}"]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert (found["Os"], found["Architecture"]) == ("linux", "arm64")
    tree, sif = tmp_path_factory.mktemp("arm64") / "tree", Path(said["files"]["sif"])
    offset = str(sif.read_bytes().index(b"hsqs"))
    unpack = ["unsquashfs", "-quiet", "-offset", offset, "-dest", str(tree), str(sif)]
    subprocess.run(unpack, check=True, capture_output=True)
    assert (tree / "opt/machine").read_text().splitlines() == ["aarch64", "neoverse_n1"]
    words = ["qemu-aarch64-static", "-L", str(tree), str(tree / "bin/uname"), "-m"]
    assert subprocess.run(words, check=True, capture_output=True, text=True).stdout == "aarch64\n"
    project.assert_no_leftovers()


@pytest.mark.skipif(bool(NO_REGISTRY), reason=NO_REGISTRY or "it can run")
def test_a_request_is_published_where_it_says_so(project: Project, workflows: Workflows) -> None:
    with (project.folder / "images.yaml").open("a") as catalogue:
        catalogue.write("CC-Box: {builder: containerfile}\n")
    box = project.folder / "containers" / "cc-box"
    box.mkdir(parents=True)
    (box / "Containerfile").write_text("FROM scratch\nCOPY words /words\n")
    (box / "words").write_text("words\n")
    machine = {"platform": "linux/amd64", "architecture": "x86_64", "container_engine": "docker", "base": "cc-box"}
    repository = "hpc/base--f_base--f_x86__64_nompi_nogpu"
    said_of_it = {"machine": machine, "workflow": "BASE", "step_id": "BASE", "version": "V1"}
    with RegistryBed(project.folder / "registry") as registry:
        sites = project.folder / "sites.yaml"
        sites.write_text(f"reg: {{registry: {registry.host}/hpc, insecure: true}}\n")
        asked = request(project, **said_of_it, push=True)
        code, said = project.run("build-request", asked)
        assert code == 0, said
        tags = registry.tags(repository)
        assert {"latest", "v1--1"} <= {*tags}
        assert "base--f_base--f_x86__64_nompi_nogpu:v1--1" in said
        again = made(project, asked)
        assert (again["built"], registry.tags(repository)) == (False, tags)
    code, said = project.run("build-request", request(project, **said_of_it))
    assert (code, "unchanged" in said) == (0, True), "the registry is away, and nobody asks it"
    project.assert_no_leftovers()
