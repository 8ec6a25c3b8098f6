"""Spack environments: what a machine adds holds for every package, and what contradicts it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cc_images.builders.spack.environment import Additions, Environment, environment
from cc_images.errors import UserError
from cc_images.model import targets
from cc_images.model.catalog import Arch

TARGET = "target=x86_64_v3"


def made(plain: dict[str, Any], **added: str) -> Environment:
    return environment({"specs": ["zip"], **plain}, Arch.AMD64, Additions(**added))


def packages(plain: dict[str, Any], **added: str) -> Any:
    return made({"packages": plain}, **added).plain["packages"]


def test_an_environment_gets_its_places_and_a_usual_target() -> None:
    found = made({"view": False, "config": {"build_jobs": 3, "install_tree": {"root": "/elsewhere"}}})
    assert json.loads(found.text)["spack"] == found.plain
    assert found.plain["view"] == "/opt/views/view"
    assert found.plain["config"] == {"build_jobs": 3, "install_tree": {"root": "/opt/software", "padded_length": 0}}
    assert found.plain["packages"] == {"all": {"target": ["x86_64_v3"]}}
    assert environment({"specs": ["zip"]}, Arch.ARM64).plain["packages"] == {"all": {"target": ["aarch64"]}}
    assert (found.target, found.mpi, found.first) == ("", "", "zip")


@pytest.mark.parametrize(
    "plain",
    [
        {"specs": ["zip target=zen2"]},
        {"packages": {"all": {"require": "target=zen2"}}},
        {"packages": {"all": {"require": [{"one_of": ["target=zen2"]}]}}},
        {"packages": {"zip": {"target": ["zen2"]}}},
    ],
)
def test_a_target_that_is_said_is_left_alone(plain: dict[str, Any]) -> None:
    found = made(plain).plain
    assert "x86_64_v3" not in json.dumps(found)


@pytest.mark.parametrize("settings", [{}, {"all": {}}, {"all": None}, {"all": {"target": ["zen2"]}}])
def test_the_machines_target_is_required_of_all(settings: dict[str, Any]) -> None:
    assert packages(settings, target="x86_64_v3")["all"] == {"require:": [TARGET]}


def test_every_processor_of_machines_is_a_target() -> None:
    for name in targets.KNOWN:
        wanted = targets.target(name).name
        assert made({}, target=wanted).target == wanted


@pytest.mark.parametrize("config", [None, {}])
def test_a_section_without_content_is_none(config: object) -> None:
    assert set(made({"config": config}).plain["config"]) == {"install_tree"}


def test_it_joins_the_requirements_of_all_and_of_single_packages() -> None:
    found = packages(
        {
            "all": {"require": "+shared", "providers": {"blas": ["openblas"]}},
            "zip": {"require": "@3.0"},
            "bzip2": {"require": ["bzip2@1.0", {"one_of": ["+pic", "~pic"]}], "target": ["zen2"]},
            "lz4": {"version": ["1.9.4"]},
            "numactl": None,
            "mpi": {"require": "openmpi@4"},
            "blas": {"require": [{"any_of": ["openblas", "netlib-lapack"]}]},
        },
        target="x86_64_v3",
    )
    assert found["all"] == {"providers": {"blas": ["openblas"]}, "require:": ["+shared", TARGET]}
    assert found["zip"] == {"require": ["@3.0", TARGET]}
    assert found["bzip2"] == {"require": ["bzip2@1.0", {"one_of": ["+pic", "~pic"]}, TARGET]}
    assert found["lz4"] == {"version": ["1.9.4"]}, "it has no requirements of its own, so those of all hold"
    assert found["mpi"] == {"require": "openmpi@4"}, "it stands for others, which have the target from all"
    assert found["blas"] == {"require": [{"any_of": ["openblas", "netlib-lapack"]}]}


@pytest.mark.parametrize(
    "plain",
    [
        {"specs": ["zip target=zen2"]},
        {"specs": ["zip arch=linux-debian12-zen2"]},
        {"packages": {"all": {"require": "target=zen2"}}},
        {"packages": {"zip": {"require": [{"spec": "@3 target=zen2"}]}}},
    ],
)
def test_another_target_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="says a target, and the machine says x86_64_v3"):
        made(plain, target="x86_64_v3")


def test_the_machines_mpi_and_gpu_join_the_specs() -> None:
    found = made({"packages": {"mpi": {"require": ["mpich"]}}}, mpi="openmpi@4", gpu="cuda@12")
    assert found.plain["specs"] == ["zip", "openmpi@4", "cuda@12"]
    assert found.plain["packages"]["mpi"] == {"buildable": True, "require:": ["openmpi@4"]}
    assert found.plain["packages"]["all"]["providers"] == {"mpi": ["openmpi"]}
    assert (found.mpi, found.first) == ("openmpi", "zip")
    again = made({"specs": ["openmpi@4 +cuda"]}, mpi="openmpi@4")
    assert again.plain["specs"] == ["openmpi@4 +cuda"]


@pytest.mark.parametrize("spec", ["mpich", "mpich@3+slurm", "builtin::mpich", "mvapich2 fabrics=mrail"])
def test_two_mpis_are_refused(spec: str) -> None:
    with pytest.raises(UserError, match="two MPIs"):
        made({"specs": ["zip", spec]}, mpi="openmpi@4")


@pytest.mark.parametrize(
    "added", [{"target": "x86_64 zip"}, {"mpi": "openmpi@4; true"}, {"gpu": "$(x)"}, {"target": "X\n"}, {"mpi": "'"}]
)
def test_hostile_additions_are_refused(added: dict[str, str]) -> None:
    with pytest.raises(UserError, match="is not understood"):
        made({}, **added)
