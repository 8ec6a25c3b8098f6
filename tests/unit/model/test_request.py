"""Names of requested images: valid everywhere, and no two requests have one."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_images.model import targets
from cc_images.model.catalog import Arch, Format
from cc_images.model.machine import Machine, Runtime
from cc_images.model.request import BASE, ImageRequest, identifier, name_of, sif_name
from tests.conftest import samples

REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*\Z")
"""A part of a repository's name, by the distribution specification."""

TAG = re.compile(r"[a-z0-9_][a-z0-9._-]{0,127}\Z")

LETTERS = st.text("abABx619", min_size=1, max_size=4)


def joined(by: str) -> st.SearchStrategy[str]:
    """Return words of short parts, with one of these letters between two."""
    more = st.lists(st.tuples(st.sampled_from(by), LETTERS).map("".join), max_size=3)
    return st.tuples(LETTERS, more.map("".join)).map("".join)


WORDS = joined("._-")
NEAR = st.sampled_from(["a", "A", "aA", "Aa", "a_b", "a-b", "a.b", "A_b", "a_B", "b", "BASE", "base", "1"])
VERSIONS = st.one_of(
    joined("._-/"),
    st.sampled_from(["latest", "v1", "V1", "v1.0", "v1/0", "v1_0", "v1-0"]),
)
RUNTIMES = st.one_of(
    st.none(),
    st.sampled_from(["openmpi@4", "openmpi", "openmpi@4.1", "intel-mpi@4", "intel@4", "mpich@4"]).map(Runtime.parse),
)
MACHINES = st.builds(
    lambda architecture, mpi, gpu: Machine(
        platform="linux/amd64" if targets.family(architecture) == "x86_64" else "linux/arm64",
        architecture=architecture, engine="podman", mpi=mpi, gpu=gpu,
    ),
    st.sampled_from(targets.KNOWN), RUNTIMES, RUNTIMES,
)  # fmt: skip
REQUESTS = st.builds(
    lambda machine, workflow, step, version: ImageRequest(
        machine=machine, workflow=workflow, step=step, version=version
    ),
    MACHINES, st.one_of(WORDS, NEAR), st.one_of(WORDS, NEAR), VERSIONS,
)  # fmt: skip


def meant(request: ImageRequest) -> tuple[object, ...]:
    machine = request.machine
    return (request.workflow, request.step, machine.architecture, machine.mpi, machine.gpu, request.version)


@settings(deadline=None, max_examples=samples(60, 1000))
@given(st.lists(REQUESTS, min_size=2, max_size=8), st.sampled_from(["", "hpc-", "hpc."]))
def test_two_requests_never_have_one_name(requests: list[ImageRequest], prefix: str) -> None:
    different = {meant(each): each for each in requests}
    for made in (identifier, sif_name):
        names = [made(name_of(each, prefix), each) for each in different.values()]
        assert len({*names}) == len(different)
    for each in requests:
        name, _, tag = identifier(name_of(each, prefix), each).partition(":")
        assert REPOSITORY.match(name)
        assert TAG.match(tag)
        assert len(re.split(r"(?<!_)_(?!_)", name)) == 5, "a single _ joins, and does nothing else"


def test_names_that_are_near_to_each_other() -> None:
    machine = Machine(platform="linux/amd64", architecture="x86_64", engine="docker")
    words = ("a", "A", "b", "a_b", "a-b", "a.b", "a_x86_64", "x86_64", "a_B", "nompi", "a-1", "a1")
    names = {
        name_of(ImageRequest(machine=replace(machine, architecture=architecture), workflow=first, step=second))
        for first, second in product(words, words)
        for architecture in ("x86_64", "x86_64_v2")
    }
    assert len(names) == 2 * len(words) ** 2


def test_names_are_these() -> None:
    machine = Machine(
        platform="linux/amd64", architecture="x86_64_v3", engine="sarus", mpi=Runtime("openmpi", "4"),
        gpu=Runtime("cuda", "10"),
    )  # fmt: skip
    request = ImageRequest(machine=machine, workflow="reduce_order", step="Train", version="release/1.0")
    name = name_of(request, "hpc-")
    assert identifier(name, request) == "hpc-reduce__order_train--1_x86__64__v3_openmpi-4_cuda-10:release..1.0"
    assert sif_name(name, request) == "hpc-reduce__order_train--1_x86__64__v3_openmpi-4_cuda-10_release..1.0.sif"
    assert ImageRequest(machine=machine, workflow=BASE, step=BASE).is_base
    assert (machine.arch, machine.formats) == (Arch.AMD64, (Format.OCI, Format.SIF))


@pytest.mark.parametrize("text", ["", "openmpi@", "@4", "OpenMPI", "a b", "a@4;", "a--b", "a@x", "a@4.", "a\n", "4"])
def test_what_is_no_runtime_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME@VERSION"):
        Runtime.parse(text)
