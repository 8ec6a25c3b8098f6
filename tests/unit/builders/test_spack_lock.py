"""Lock files of Spack as values: a real one, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cc_images.builders.spack.lock import read
from cc_images.errors import UserError
from tests.conftest import GOLDEN

TEXT = (GOLDEN / "spack" / "zip.lock").read_text()


def plain() -> Any:
    return json.loads(TEXT)


def named(found: Any, name: str) -> Any:
    return next(each for each in found["concrete_specs"].values() if each["name"] == name)


def test_packages_are_read_with_what_they_need() -> None:
    locked = read(TEXT, "zip")
    assert [each.label for each in locked.to_build] == [
        "compiler-wrapper@1.1.0", "gcc-runtime@12.2.0", "bzip2@1.0.8", "zip@3.0"
    ]  # fmt: skip
    assert {each.target for each in locked.to_build} == {"x86_64_v3"}
    assert [each.name for each in locked.to_install] == ["gcc-runtime", "bzip2", "zip"], "a wrapper is for builds alone"
    assert {each.name for each in locked.packages.values() if each.external} == {"diffutils", "gcc", "glibc", "gmake"}
    assert locked.providers("c") == {"gcc"}
    assert locked.version == locked.tag == "3.0"


def test_each_package_comes_after_those_that_it_needs() -> None:
    order = [each.hash for each in read(TEXT).to_build]
    for each in read(TEXT).to_build:
        assert all(order.index(key) < order.index(each.hash) for key in each.dependencies if key in order)


@pytest.mark.parametrize(
    ("first", "version"),
    [
        ("bzip2", "1.0.8"),
        ("zip", "3.0"),
        ("bzip2 +shared", "1.0.8"),
        ("mpi", "9.9"),
        ("zip@develop", "develop"),
        ("", "3.0"),
    ],
)
def test_the_version_is_that_of_the_first_spec_as_it_is_written(first: str, version: str) -> None:
    found = plain()
    bzip2, compiler = named(found, "bzip2"), named(found, "gcc-runtime")
    if version == "develop":
        named(found, "zip")["version"] = version
    compiler["version"] = "9.9"
    found["roots"] += [{"hash": bzip2["hash"], "spec": "bzip2+shared"}, {"hash": compiler["hash"], "spec": "mpi"}]
    assert read(json.dumps(found), first).version == version


def test_a_version_becomes_a_tag() -> None:
    found = plain()
    named(found, "zip")["version"] = "git.main=1.2+x"
    assert read(json.dumps(found)).tag == "git.main-1.2-x"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000, '{"_meta": 1}', TEXT[:-5]])
def test_what_is_no_lock_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="it is no lock"):
        read(text)


def test_a_lock_that_does_not_hold_together_is_refused() -> None:
    found = plain()
    found["_meta"]["lockfile-version"] = 4
    with pytest.raises(UserError, match="version 4"):
        read(json.dumps(found))
    found = plain()
    found["_meta"]["lockfile-version"] = 7
    assert read(json.dumps(found), "zip") == read(TEXT, "zip"), "a later format of the same shape"
    del found["roots"]
    with pytest.raises(UserError, match="version 7; 6 is the newest that is known"):
        read(json.dumps(found))
    found = plain()
    del found["concrete_specs"][named(found, "bzip2")["hash"]]
    with pytest.raises(UserError, match="does not have"):
        read(json.dumps(found))
    found = plain()
    named(found, "bzip2")["dependencies"].append({"name": "zip", "hash": named(found, "zip")["hash"], "parameters": {}})
    with pytest.raises(UserError, match="in a circle"):
        read(json.dumps(found))
    found = plain()
    found["roots"] = []
    with pytest.raises(UserError, match="no specs"):
        read(json.dumps(found))
    found = plain()
    named(found, "bzip2")["name"] = "../../etc"
    with pytest.raises(UserError, match="no lock"):
        read(json.dumps(found))


@pytest.mark.parametrize(("name", "version"), [("z" * 129, "1"), ("z" * 101, "1" * 100)])
def test_a_package_whose_files_could_have_no_name_is_refused(name: str, version: str) -> None:
    found = plain()
    named(found, "bzip2").update(name=name, version=version)
    with pytest.raises(UserError, match="no lock"):
        read(json.dumps(found))
