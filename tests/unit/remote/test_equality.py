"""What must be equal at both ends for which builds: buildah for those that run it, and for no others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cc_images.builders.containerfile.builder import CONTAINERFILE
from cc_images.builders.containerfile.spec import ContainerfileSpec
from cc_images.model.attempt import BuilderHost, JobState
from cc_images.model.catalog import Arch, Json, Material
from cc_images.model.plan import BuildJob, Task
from cc_images.remote.equality import facts_of, programs_here, programs_of, unequal
from cc_images.remote.placement import Chain, Host, place
from cc_images.remote.survey import facts_here, survey
from cc_images.store.records import Store
from tests.support.jobs import build_job, dib_spec


def spec(own: str = "") -> ContainerfileSpec:
    """Return the spec of an image by a Containerfile; `own` is a layer of its own that is there."""
    return ContainerfileSpec(
        makes=Material.TREE, name="X", tag="x", arch=Arch.AMD64, recipe_key="a", folder="", context="", arguments={},
        own=own,
    )  # fmt: skip


def test_programs_of_a_build_are_those_that_it_runs_and_that_its_key_has() -> None:
    assert programs_of([spec()]) == dict(CONTAINERFILE.versions()) == programs_here()
    assert programs_of([spec(own="a" * 64), dib_spec()]) == {}


class Told:
    """A builder host that says what it was told to."""

    def __init__(self, said: Json) -> None:
        self._said = said

    def facts(self) -> Json:
        return self._said

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    def look(self, attempts: object) -> dict[str, JobState]:
        return {}


def host(store: Store, **more: object) -> Host:
    entry = BuilderHost(name="east", ssh="east")
    (found,) = survey([(entry, Told(facts_here(store) | more))])
    return found.host


def test_a_host_with_another_buildah_gets_no_containerfiles_and_all_else(store: Store) -> None:
    here = programs_here()["buildah"]
    assert host(store).unfit_for == {}
    east = host(store, programs={"buildah": "9.9.9"})
    why = f"buildah is 9.9.9, and the head has {here[:12]}"
    assert (east.unfit, east.unfit_for) == ("", {"buildah": why})
    home = Host(entry=BuilderHost(name="home", local=True), arch=Arch.AMD64)

    def placed(job: BuildJob) -> str:
        return place(Chain(tasks=(Task(id="t", job=job, reason=""),)), [east, home], {"home": 0}, {}).name

    assert placed(BuildJob(spec=spec(), version="v")) == "home"
    assert placed(build_job(version="v")) == "east"
    assert placed(BuildJob(spec=spec(own="a" * 64), version="v")) == "east"
    older = host(store, programs={})
    assert older.unfit_for == {"buildah": f"buildah is missing, and the head has {here[:12]}"}


def test_a_host_whose_certificate_is_not_there_gets_nothing(store: Store, tmp_path: Path) -> None:
    entry = BuilderHost(name="farm", slurm={"partition": "p"}, hub="https://h:1", ca=str(tmp_path / "hub.pem"))
    (found,) = survey([(entry, Told(facts_here(store)))])
    assert found.host.unfit == f"hub-ca: {tmp_path}/hub.pem: No such file or directory"
    (tmp_path / "hub.pem").write_text("")
    (found,) = survey([(entry, Told(facts_here(store)))])
    assert found.host.unfit == ""


def test_a_head_needs_no_program_that_only_some_builds_use() -> None:
    assert [*unequal({"buildah": "missing"}, {"buildah": "1.28.2"})] == []
    assert [*unequal({"buildah": "1.28.2"}, {"buildah": "missing"})] == ["buildah is missing, and the head has 1.28.2"]
    assert [*unequal({"mke2fs": "missing"}, {"mke2fs": "1.47"})] == ["mke2fs is 1.47, and the head has missing"]


def test_a_tool_that_differs_is_named_with_both_versions() -> None:
    old, new = f"{'a' * 64} 1.47.0-2", f"{'b' * 64} 1.47.2-1"
    assert [*unequal({"mke2fs": old}, {"mke2fs": new})] == [
        "mke2fs is 1.47.2-1 (bbbbbbbbbbbb), and the head has 1.47.0-2 (aaaaaaaaaaaa)"
    ]
    assert [*unequal({"mke2fs": old}, {"mke2fs": f"{'a' * 64} 1.47.0-2+b1"})] == [], "the bytes are the same"
    assert [*unequal({"mke2fs": old}, {"mke2fs": "a" * 64})] == [], "a host without Debian's database"


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="needs dpkg")
def test_versions_are_those_of_packages() -> None:
    said = subprocess.run(["dpkg-query", "-W", "-f=${Version}", "mmdebstrap"], capture_output=True, text=True)
    digest, version = facts_of(set())["mmdebstrap"].split()
    assert (len(digest), version) == (64, said.stdout)
    assert " " not in facts_of(set())["diskimage-builder"]
