"""Requests as entries of the catalogue: their Containerfiles, parents, formats, labels and keys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cc_images.api.outcome import Outcome
from cc_images.api.plan import plan
from cc_images.api.requests import Made, Prepared, prepared, request_of
from cc_images.builders.containerfile import steps
from cc_images.config.loader import Config, load
from cc_images.errors import UserError
from cc_images.model.catalog import Arch, Format, Image
from cc_images.model.machine import Machine, Runtime
from cc_images.model.plan import Plan
from cc_images.model.workflow import Step
from tests.conftest import write_files

IMAGES = """\
CC-Base: {arch: [amd64, arm64], elements: [a], formats: [oci], environment: {DIB_RELEASE: bookworm}}
CC-Plain: {builder: containerfile, formats: [oci]}
CC-Disk: {elements: [a]}
CC-Spack-Builder: {builder: containerfile}
CC-Spack-Runtime: {builder: containerfile}
Own-Builder: {builder: containerfile}
"""

CUBE = {"platform": "linux/amd64", "architecture": "rome", "container_engine": "singularity", "base": "cc-base"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_files(tmp_path, images=IMAGES, sites="site: {directory: site}\n")
    (tmp_path / "containers/cc-plain").mkdir(parents=True)
    (tmp_path / "containers/cc-plain/Containerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "own").mkdir()
    store = str(tmp_path / "store")
    return load({"HOME": str(tmp_path), "CC_IMAGES_STORE": store, "CC_IMAGES_SETTINGS": ""}, tmp_path)


def made(config: Config, machine: dict[str, Any] | None = None, **said: object) -> tuple[Prepared, dict[str, str]]:
    """Return a request with its entries, and the texts of their contexts by image and file."""
    folder = config.files["images.yaml"].parent
    asked = {"machine": CUBE | (machine or {}), "workflow": "w", "step_id": "s", "path": "own", **said}
    texts: dict[str, str] = {}
    with prepared(request_of(asked, {}, folder), config) as ready:
        for tag, image in ready.config.images.items():
            if tag not in config.images:
                context = Path(image.containerfile["context"])
                texts |= {f"{tag}/{file.relative_to(context)}": file.read_text()
                          for file in context.rglob("*") if file.is_file()}  # fmt: skip
    return ready, texts


def described(config: Config, **files: str) -> None:
    own = config.files["images.yaml"].parent / "own"
    for each in own.iterdir():
        each.unlink()
    for name, text in files.items():
        (own / name.replace("__", ".")).write_text(text)


def parents(ready: Prepared) -> list[Image]:
    return list(ready.config.lineage(ready.image))


def test_packages_are_an_image_of_their_own_and_words(config: Config) -> None:
    described(
        config, eflows4hpc__yaml="apt: [less, g++=4:12*]\n".replace("*", ".2"), README__md="# S\n\n## Usage\n\nso\n"
    )
    ready, texts = made(config, {"mpi": "openmpi@4"})
    base, packages, image = parents(ready)
    assert base.tag == "cc-base"
    assert texts[f"{packages.tag}/Containerfile"].splitlines() == [
        "FROM cc-base",
        'RUN ["apt-get", "update"]',
        'RUN ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends", "--", '
        '"less", "g++=4:12.2", "openmpi-bin=4.*", "libopenmpi-dev=4.*"]',
        'RUN ["find", "/var/lib/apt/lists", "-mindepth", "1", "-delete"]',
    ]
    assert texts[f"{image.tag}/Containerfile"] == f"FROM {packages.tag}\n"
    assert f"{image.tag}/README.md" in texts
    assert (image.tag, image.formats) == ("w_s_rome_openmpi-4_nogpu", (Format.OCI, Format.SIF))
    assert image.container["labels"] == {
        "workflow": "w", "step": "s", "platform": "linux/amd64", "architecture": "zen2", "mpi": "openmpi@4",
    }  # fmt: skip
    assert (ready.request.build, ready.request.push, ready.request.force) == (True, False, False)
    other, _ = made(config, {"mpi": "openmpi@4", "architecture": "skylake", "container_engine": "podman"}, push=True)
    assert parents(other)[1].tag == packages.tag, "a second machine shares the packages"
    assert (other.image.formats, other.request.push) == ((Format.OCI,), True)


def test_pip_and_the_script_are_files_that_are_run(config: Config) -> None:
    described(
        config, eflows4hpc__yaml="pip: ['numpy>=1,<3', 'x[a]']\n", requirements__txt="./a.whl\n", post_inst__sh="x\n"
    )
    ready, texts = made(config, {"gpu": "cuda@10"}, version="v1")
    _, packages, image = parents(ready)
    assert '"--", "python3", "python3-pip"]' in texts[f"{packages.tag}/Containerfile"]
    lines = texts[f"{image.tag}/Containerfile"].splitlines()
    assert lines[:2] == [f"FROM {packages.tag}", "COPY cc-images-files/ /opt/cc-images-step/"]
    words = [json.loads(line.removeprefix("RUN ")) for line in lines[2:]]
    assert [each[-1] for each in words] == [
        "requirements.txt", "cc-images-requirements.txt", "./post_inst.sh", "/opt/cc-images-step",
    ]  # fmt: skip
    assert "CFLAGS=-O2 -march=znver2" in words[0]
    assert words[2][-2] == "/bin/sh", "it names no interpreter"
    assert texts[f"{image.tag}/cc-images-files/cc-images-requirements.txt"] == "numpy>=1,<3\nx[a]\n"
    assert image.container["environment"]["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert (image.version, image.bump, ready.identifier) == ("v1", False, "w_s_rome_nompi_cuda-10:v1")


def test_the_base_alone_and_other_platforms(config: Config) -> None:
    ready, texts = made(config, workflow="BASE", step_id="BASE")
    assert texts == {f"{ready.image.tag}/Containerfile": "FROM cc-base\n"}
    arm = {"platform": "linux/arm64", "architecture": "graviton3"}
    ready, _ = made(config, arm, workflow="BASE", step_id="BASE")
    assert ready.request.arches == (Arch.ARM64,)
    assert ready.identifier == "base--f_base--f_graviton3_nompi_nogpu-arm64:latest"


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"base": "cc-disk"}, "request: machine.base: cc-disk is no container: its formats have neither oci nor sif"),
        ({"base": "cc-none"}, "request: machine.base: cc-none is not in the catalogue"),
        ({"base": ""}, "request: machine.base: cc-debian12-container, the default, is not in the catalogue"),
        ({"spack-builder": "cc-none"}, "request: machine.spack-builder: cc-none is not in the catalogue"),
        ({"spack-builder": "cc-disk"}, "machine.spack-builder: cc-disk is no container"),
        ({"base": "cc-plain", "platform": "linux/arm64", "architecture": "aarch64"}, "is not made for arm64"),
        ({"mpi": "openmpi@5"}, "mpi: openmpi@5: bookworm has openmpi 4.1.4"),
        ({"mpi": "openmpi@4.1.5"}, "mpi: openmpi@4.1.5: bookworm has openmpi 4.1.4"),
        ({"mpi": "intel-mpi@5"}, "without a Spack part there are openmpi and mpich"),
    ],
)
def test_machines_that_the_catalogue_cannot_serve(config: Config, machine: dict[str, str], said: str) -> None:
    described(config, post_inst__sh="true\n")
    with pytest.raises(UserError, match=said):
        made(config, machine)


@pytest.mark.parametrize(
    ("mpi", "word"),
    [
        ("openmpi", "mpich"), ("openmpi@4", "libmpich-dev"), ("openmpi", "libmpich12:amd64"), ("mpich", "openmpi-bin"),
        ("mpich", "libopenmpi-dev=4.*"), ("mpich", "mpi-default-dev"), ("mpich", "libopenmpi3/bookworm"),
    ],
)  # fmt: skip
def test_a_second_mpi_of_apt_is_refused(config: Config, mpi: str, word: str) -> None:
    described(config, eflows4hpc__yaml=f"apt: [less, '{word.replace('.*', '')}']\n")
    with pytest.raises(UserError, match=r"^apt: .* and the machine's .* are two MPIs"):
        made(config, {"mpi": mpi})
    made(config)


@pytest.mark.parametrize(
    ("mpi", "words"),
    [("openmpi", "openmpi-bin, libopenmpi-dev, mpi-default-dev"), ("mpich", "mpich, libmpich-dev, python3-mpi4py")],
)
def test_the_same_mpi_may_be_named_twice(config: Config, mpi: str, words: str) -> None:
    described(config, eflows4hpc__yaml=f"apt: [{words}]\n")
    made(config, {"mpi": mpi})


@pytest.mark.parametrize("key", ["base", "spack-builder"])
@pytest.mark.parametrize("text", ["apt: [less]\n", "spack: [zip]\n"])
def test_an_image_that_a_machine_names_is_looked_for_though_the_step_needs_it_not(
    config: Config, key: str, text: str
) -> None:
    described(config, eflows4hpc__yaml=text)
    folder = config.files["images.yaml"].parent
    (folder / "machines.yaml").write_text(json.dumps({"cube": {**CUBE, key: "cc-nnoe"}}))
    machines = load({"HOME": str(folder), "CC_IMAGES_SETTINGS": ""}, folder).machines
    asked = request_of({"machine": "cube", "workflow": "w", "step_id": "s", "path": "own"}, machines, folder)
    with pytest.raises(UserError) as caught, prepared(asked, config):
        pass
    assert caught.value.message == f"machines.yaml: cube.{key}: cc-nnoe is not in the catalogue"
    assert "correct it, or leave it out" in caught.value.hint


@pytest.mark.parametrize(("engine", "takes"), [("apptainer", True), ("sarus", True), ("docker", False)])
def test_a_sif_file_is_named_where_the_engine_takes_one(config: Config, engine: str, takes: bool) -> None:
    expected = "base--f_base--f_rome_nompi_nogpu_latest.sif" if takes else None
    ready, _ = made(config, {"container_engine": engine}, workflow="BASE", step_id="BASE")
    outcome = Outcome(plan=Plan(version="1", tasks=()), results={}, journal=Path("journal"), seconds=0, stopped=False)
    done = Made(ready=ready, outcome=outcome, files={})
    assert done.sif_name == expected
    said = done.as_json({})
    assert (said["image"], said["sif"]) == ("base--f_base--f_rome_nompi_nogpu:latest", expected)


def test_a_name_of_the_catalogue_is_nobody_elses(config: Config) -> None:
    described(config, post_inst__sh="true\n")
    taken = {"w_s_rome_nompi_nogpu": config.images["cc-plain"]}
    with pytest.raises(UserError, match="w_s_rome_nompi_nogpu is an image of the catalogue, too"):
        made(replace(config, images={**config.images, **taken}))
    ready, _ = made(replace(config, workflows=replace(config.workflows, prefix="hpc.")))
    assert ready.identifier == "hpc.w_s_rome_nompi_nogpu:latest"
    with pytest.raises(UserError, match="the image's name would have 116 letters, of 100"):
        made(config, workflow="w" * 40, step_id="s_" * 19 + "t")


def test_a_spack_part_is_the_spack_builders(config: Config) -> None:
    described(config, eflows4hpc__yaml="apt: [less]\nspack: [zip, lz4@1.9]\n", post_inst__sh="#!/bin/bash\n")
    ready, texts = made(config, {"mpi": "mvapich2@2", "gpu": "cuda@10", "base": ""})
    image = ready.image
    assert (image.builder, image.depends) == ("spack", ("cc-spack-runtime", "cc-spack-builder"))
    assert image.containerfile["machine"] == {"target": "zen2", "mpi": "mvapich2@2", "gpu": "cuda@10"}
    assert json.loads(texts[f"{image.tag}/spack.yaml"]) == {"spack": {"specs": ["zip", "lz4@1.9"]}}
    epilogue = texts[f"{image.tag}/Containerfile.epilogue"].splitlines()
    assert [line.partition(" ")[0] for line in epilogue] == ["RUN", "RUN", "RUN", "COPY", "RUN", "RUN"]
    assert '"--", "less"]' in epilogue[1], "MPI is Spack's"
    assert '"./post_inst.sh"' in epilogue[4]
    assert '"/bin/sh"' not in epilogue[4]
    described(config, spack__yaml="spack: {specs: [zip]}\n")
    ready, texts = made(config, {"spack-builder": "Own-Builder"})
    assert ready.image.depends == ("cc-spack-runtime", "own-builder")
    with pytest.raises(UserError, match=r"machine\.spack-builder: nobody is not in the catalogue"):
        made(config, {"spack-builder": "nobody"})
    with pytest.raises(UserError, match="a Spack part needs cc-spack-runtime for arm64"):
        made(config, {"platform": "linux/arm64", "architecture": "grace"})
    assert texts[f"{ready.image.tag}/spack.yaml"] == "spack: {specs: [zip]}\n"
    assert texts[f"{ready.image.tag}/Containerfile.epilogue"] == ""


def test_keys_follow_what_is_asked_for_and_nothing_else(config: Config) -> None:
    described(config, post_inst__sh="true\n")
    folder = config.files["images.yaml"].parent

    def key(machine: dict[str, str], **said: object) -> str:
        asked = {"machine": {**CUBE, "base": "cc-plain", **machine}, "workflow": "w", "step_id": "s", "path": "own"}
        with prepared(request_of({**asked, **said}, {}, folder), config) as ready:
            seen = plan(ready.request, ready.config, offline=True)
        (task,) = [each for each in seen.plan.tasks if each.id.startswith("build ")]
        assert (seen.pushes, [each.id for each in seen.plan.tasks if each.id.startswith("push")]) == ((), [])
        return str(task.job.spec.recipe_key)  # type: ignore[union-attr]

    first = key({})
    assert first == key({}) == key({"container_engine": "docker"}) == key({}, push=False)
    different = [key({"architecture": "milan"}), key({"gpu": "cuda"}), key({}, version="v1"), key({}, step_id="t")]
    described(config, post_inst__sh="false\n")
    assert len({first, *different, key({})}) == 6


@pytest.mark.parametrize("release", ["bookworm", "trixie", "noble", "jammy", ""])
def test_versions_of_mpi_are_asked_of_apt_where_nobody_knows_them(release: str) -> None:
    def packages(text: str) -> tuple[str, ...]:
        machine = Machine(platform="linux/amd64", architecture="zen", engine="podman", mpi=Runtime.parse(text))
        return steps.packages_of(Step(), machine, release)

    assert packages("openmpi") == ("openmpi-bin", "libopenmpi-dev")
    own = steps.VERSIONS.get(release, {}).get("openmpi", "4.1.0")
    assert packages(f"openmpi@{own}") == (f"openmpi-bin={own}-*", f"libopenmpi-dev={own}-*")
    assert packages(f"openmpi@{own[0]}")[0] == f"openmpi-bin={own[0]}.*"
    assert packages(f"openmpi@{own[:3]}")[0] == f"openmpi-bin={own[:3]}*"
