"""The examples: what docs/hpc.md and examples/hpc have is read, planned, and is the image that they say."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from cc_images.api.requests import prepared, read_request
from cc_images.builders.spack.environment import environment
from cc_images.config.loader import Config, load
from cc_images.config.spack_file import environment_of
from cc_images.model import targets
from cc_images.model.catalog import Arch
from tests.conftest import REPOSITORY, Cli
from tests.unit.repository.test_documents import snippets

HPC = REPOSITORY / "examples" / "hpc"
DOCUMENT = REPOSITORY / "docs" / "hpc.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HPC, tmp_path / "hpc"))


def loaded(folder: Path) -> Config:
    store = str(folder / "store")
    return load({"HOME": str(folder), "CC_IMAGES_STORE": store, "CC_IMAGES_SETTINGS": ""}, folder)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("request.json", "minimal__workflow_wordcount_sandybridge_openmpi-4_nogpu:latest"),
        ("own-machine.yaml", "base--f_base--f_skylake_mpich-4_nogpu:latest"),
    ],
)
def test_examples_are_requests_for_images_of_the_catalogue(folder: Path, file: str, name: str) -> None:
    config = loaded(folder)
    with prepared(read_request(folder / file, config.machines), config) as ready:
        assert ready.identifier == name
    assert name.partition(":")[0] in (HPC / "README.md").read_text() + name


def test_all_machines_of_the_example_can_be_asked_for(folder: Path) -> None:
    config = loaded(folder)
    assert [*config.machines] == ["nord3", "karolina", "desk", "grace"]
    for name in config.machines:
        (folder / "request.json").write_text(json.dumps({"machine": name, "workflow": "BASE", "step_id": "BASE"}))
        with prepared(read_request(folder / "request.json", config.machines), config) as ready:
            assert ready.image.arches == (config.machines[name].arch,)


def test_an_example_is_planned_by_the_command_line(cli: Cli, folder: Path) -> None:
    done = cli("build-request", "request.json", "--dry-run", "--offline", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("minimal__workflow_wordcount_sandybridge_openmpi-4_nogpu:latest\n")
    assert "layer cc-debian12-container-packages-" in done.stdout
    said = json.loads(cli("build-request", "request.json", "--dry-run", "--offline", "--json", cwd=folder).stdout)
    assert said["image"].startswith("minimal__workflow_")


def test_the_documents_files_are_read(tmp_path: Path) -> None:
    """The machine, the request, the base's request, the settings and the program of the page, in one folder."""
    (machines,) = snippets(DOCUMENT, "nord3:")
    (request,) = snippets(DOCUMENT, r'\{"machine"')
    (base,) = snippets(DOCUMENT, "machine:")
    (settings,) = snippets(DOCUMENT, "workflows:")
    (tmp_path / "machines.yaml").write_text(machines)
    (tmp_path / "request.json").write_text(request)
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "settings.yaml").write_text(settings)
    (tmp_path / "wordcount").mkdir()
    (tmp_path / "wordcount" / "eflows4hpc.yaml").write_text("apt: [less]\n")
    config = load({"HOME": str(tmp_path), "CC_IMAGES_SETTINGS": str(tmp_path / "settings.yaml")}, tmp_path)
    names = []
    for file in ("request.json", "base.yaml"):
        with prepared(read_request(tmp_path / file, config.machines), config) as ready:
            names.append(ready.identifier)
    assert names == [
        "hpc-text_wordcount_sandybridge_openmpi-4_nogpu:latest",
        "hpc-base--f_base--f_skylake_mpich-4_nogpu:latest",
    ]


def test_the_program_of_the_page_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (machines,) = snippets(DOCUMENT, "nord3:")
    (tmp_path / "machines.yaml").write_text(machines.replace("}", ", base: cc-none}"))
    (tmp_path / "wordcount").mkdir()
    (tmp_path / "wordcount" / "eflows4hpc.yaml").write_text("apt: [less]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CC_IMAGES_SETTINGS", "")
    from cc_images.errors import UserError

    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(UserError, match="cc-none is not in the catalogue"):
        exec(compile(program, "docs/hpc.md", "exec"), {"__name__": "example"})


def test_the_page_names_every_processor() -> None:
    named = {*re.findall(r"`([a-z0-9_.]+)`", DOCUMENT.read_text())}
    armv8 = {f"armv8.{number}a" for number in range(1, 7)}
    assert {*targets.KNOWN} - armv8 <= named


def test_the_example_of_three_lines_is_an_environment_of_ours_too() -> None:
    """The Dockerfile needs nothing but the names of two images; what is done stands behind ONBUILD in one of these."""
    folder = REPOSITORY / "examples" / "spack"
    made = environment(environment_of(folder / "tool" / "spack.yaml", "spack.yaml"), Arch.AMD64)
    assert made.first == "zip"
    lines = (folder / "tool" / "Dockerfile").read_text().splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["FROM", "FROM", "COPY"]
    for name in ("builder", "runtime"):
        assert f"localhost/spack-{name}" in " ".join(lines)
        text = (folder / name / "Containerfile").read_text()
        assert f"ARG BASE=localhost/cc-spack-{name}\n" in text
        assert ("\nONBUILD RUN " in text) is (name == "builder")
    assert "buildah build --format=docker --tag localhost/spack-builder builder\n" in (folder / "README.md").read_text()


def test_the_pages_environment_with_an_mpi_is_read(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"^    (spack:\n      specs: \[ring\]\n(?:      .*\n)+)",
        (REPOSITORY / "docs/containers.md").read_text(),
        re.MULTILINE,
    )
    (tmp_path / "spack.yaml").write_text(text)
    made = environment(environment_of(tmp_path / "spack.yaml", "spack.yaml"), Arch.AMD64)
    assert made.plain["packages"]["mpi"] == {"require": ["mpich"]}
