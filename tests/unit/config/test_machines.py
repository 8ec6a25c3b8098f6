"""machines.yaml: what an entry may say, and the sentences about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.config.loader import Config, load
from cc_images.errors import ConfigError
from cc_images.model.catalog import Arch
from cc_images.model.machine import Machine, Runtime
from tests.conftest import write_files


def loaded(folder: Path, text: str, **environment: str) -> Config:
    write_files(folder, images="", sites="")
    (folder / "machines.yaml").write_text(text)
    return load({"HOME": str(folder), "CC_IMAGES_SETTINGS": ""} | environment, folder)


def test_machines_stand_beside_the_catalogue(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "Nord3: {platform: linux/amd64, architecture: sandybridge, container_engine: sarus, mpi: openmpi@4, gpu: ''}\n"
        "grace: {platform: linux/arm64, architecture: grace, container-engine: docker, gpu: cuda@12.4, base: X}\n",
    )
    nord, grace = config.machines.values()
    assert nord == Machine(
        name="Nord3", platform="linux/amd64", architecture="sandybridge", engine="sarus", mpi=Runtime("openmpi", "4")
    )
    assert (grace.arch, grace.target, grace.gpu, grace.base) == (
        Arch.ARM64,
        "neoverse_v2",
        Runtime("cuda", "12.4"),
        "x",
    )


def test_another_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("a: {platform: linux/amd64, architecture: zen, container-engine: podman}\n")
    assert [*loaded(tmp_path, "", CC_MACHINES_CONFIG="more.yaml").machines] == ["a"]
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        loaded(tmp_path, "", CC_MACHINES_CONFIG="none.yaml")
    (tmp_path / "machines.yaml").unlink()
    assert load({"HOME": str(tmp_path), "CC_IMAGES_SETTINGS": ""}, tmp_path).machines == {}


GOOD = {"platform": "linux/amd64", "architecture": "skylake", "container-engine": "docker"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"platform": ""}, "machines.yaml:1: a.platform: is missing; one of linux/amd64, linux/arm64"),
        ({"platform": "linux/arm64"}, "a.architecture: skylake is of the family x86_64, and no part of linux/arm64"),
        ({"architecture": "romee"}, "did you mean rome?"),
        ({"container-engine": "podmann"}, "did you mean podman?"),
        ({"container_engine": "docker"}, "a.container_engine: given twice"),
        ({"mpi": "nompi"}, "nompi means that there is none; leave the key out"),
        ({"gpu": "x; rm -rf /"}, "a.gpu: 'x; rm -rf /' is not NAME or NAME@VERSION, such as openmpi@4"),
        ({"mpi": "openmpi@4.1.1.1.1.1.1.1.1.1"}, "has more than 24 letters"),
        ({"mpy": "openmpi"}, "unknown key; did you mean mpi?"),
        ({"base": "$(id)"}, "'$(id)' is not the name of an image of the catalogue"),
    ],
)
def test_mistakes_have_sentences(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    entry = ", ".join(f"{key}: {value!r}" for key, value in (GOOD | changed).items())
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"a: {{{entry}}}\n")
    assert len(caught.value.problems) == 1
    assert said in caught.value.message


def test_settings_say_where_workflows_are_from(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        "workflows: {repo: 'https://git.example.org/w.git', branch: main, folder: steps, prefix: hpc-, served: [/a]}\n"
    )
    found = loaded(tmp_path, "", CC_IMAGES_SETTINGS=str(settings)).workflows
    assert (found.branch, found.folder, found.prefix, found.served) == ("main", "steps", "hpc-", ("/a",))
    long = f"prefix: {'x' * 25}"
    for text in (
        "folder: ../x",
        "prefix: A",
        "prefix: a_b",
        "branch: a, commit: abcdef1",
        long,
        "served: [x]",
        "served: /",
    ):
        settings.write_text(f"workflows: {{{text}}}\n")
        with pytest.raises(ConfigError, match=r"workflows\."):
            loaded(tmp_path, "", CC_IMAGES_SETTINGS=str(settings))
