"""Builder hosts that were asked, and what they do of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.api import builders
from cc_images.config.loader import load
from cc_images.errors import UserError
from cc_images.host.facts import HostFacts
from cc_images.model.attempt import BuilderHost
from cc_images.model.catalog import Arch
from cc_images.model.plan import Plan, Request, Task
from cc_images.remote import division
from cc_images.remote.division import Asked
from cc_images.remote.placement import Host
from cc_images.remote.survey import Facts, Surveyed
from tests.conftest import write_files
from tests.support.jobs import build_job, layer_job

HERE = Host(entry=BuilderHost(name="here", local=True), arch=Arch.AMD64)


def host(name: str, machine: str = "x86_64", *, unfit: str = "", **more: object) -> Surveyed:
    """Return a builder host that has said what it is."""
    entry = BuilderHost(name=name, ssh=name, **more)  # type: ignore[arg-type]
    facts = Facts(machine=machine, version="1", tools={})
    arch = next(each for each in Arch if each.machine == machine)
    return Surveyed(host=Host(entry=entry, arch=arch, unfit=unfit), facts=facts)


def asked(*found: Surveyed, here: Host = HERE) -> Asked:
    return Asked(here=here, found=found, hub=Path("/nowhere/hub"), store=Path("/nowhere"))


def plan(*arches: Arch) -> Plan:
    tasks = [Task(id=f"build cc-one {arch}", job=build_job(arch=arch), reason="new") for arch in arches]
    return Plan(version="v", tasks=tuple(tasks))


REQUEST = Request(tags=("cc-one",), build=True)


def test_what_a_machine_of_its_own_builds_is_emulated_nowhere() -> None:
    both = ("amd64", "arm64")
    found = asked(host("one", architectures=both), host("arm", "aarch64"))
    assert found.natives == {Arch.ARM64}
    told, away, _ = division.divided(plan(Arch.ARM64, Arch.AMD64), REQUEST, found)
    assert [task.reason for task in told.tasks] == [
        "new; on arm (native arm64)", "new; here (native amd64, least loaded)",
    ]  # fmt: skip
    assert away is not None
    assert away.tasks == {"build cc-one arm64"}
    with pytest.raises(UserError, match="no builder can do build cc-one arm64: here does not build for arm64"):
        division.divided(plan(Arch.ARM64), REQUEST, asked(host("one"), host("arm", "aarch64", unfit="has no disk")))


def test_an_architecture_is_emulated_where_no_machine_has_it() -> None:
    found = asked(host("one", architectures=("amd64", "arm64")))
    assert found.natives == set()
    told, _, _ = division.divided(plan(Arch.ARM64), REQUEST, found)
    assert told.tasks[0].reason == "new; on one (arm64 emulated)"


def test_facts_of_a_plan_with_machines_of_their_own() -> None:
    here = HostFacts(machine="x86_64", runs=frozenset({Arch.AMD64}))
    assert here.is_foreign(Arch.ARM64)
    both = here.with_builders({*Arch}, {Arch.ARM64})
    assert not both.is_foreign(Arch.ARM64)
    assert not both.is_foreign(Arch.AMD64)
    assert (both.machine_for(Arch.ARM64), both.machine_for(Arch.AMD64)) == ("aarch64", "x86_64")
    assert both.runs == {*Arch}


def test_each_task_says_where_it_is_done_and_why() -> None:
    idle = Host(entry=BuilderHost(name="here", local=True), arch=Arch.AMD64, unfit="is not in builders.yaml")
    tasks = (
        Task(id="layer cc-one amd64", job=layer_job(), reason="changed"),
        Task(id="build cc-one amd64", job=build_job(until="install"), reason="new"),
        Task(id="build cc-two amd64", job=build_job(tag="cc-two"), reason="", cached=True),
    )
    told, away, here = division.divided(Plan(version="v", tasks=tasks), REQUEST, asked(host("one"), here=idle))
    assert [task.reason for task in told.tasks] == [
        "changed; on one (native amd64)", "new; here (--until keeps its tree here)", "",
    ]  # fmt: skip
    assert away is not None
    assert away.tasks == {"layer cc-one amd64"}
    assert here == 0


def test_a_plan_says_why_a_host_gets_nothing() -> None:
    gone = host("gone", unfit="does not answer: No route to host")
    told, _, _ = division.divided(plan(Arch.AMD64), REQUEST, asked(host("one"), gone))
    assert told.notes == ("builder gone gets nothing: does not answer: No route to host",)
    cached = Plan(version="v", tasks=(Task(id="build cc-two amd64", job=build_job(), reason="", cached=True),))
    assert division.divided(cached, REQUEST, asked(host("one"), gone))[0].notes == ()


def test_a_host_that_does_not_answer_gets_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-X: {elements: [vm]}", sites="one: {directory: site}")
    (tmp_path / "builders.yaml").write_text("dead: {ssh: 'nobody@127.0.0.1:1'}\n")
    config = load({"HOME": str(tmp_path), "CC_IMAGES_STORE": str(tmp_path / "store")}, tmp_path)
    found = builders.ask(REQUEST, config)
    assert isinstance(found, Asked)
    assert [each.host.unfit.partition(":")[0] for each in found.found] == ["does not answer"]
    with pytest.raises(UserError, match=r"here is not in builders.yaml; dead does not answer: .*nobody@127"):
        builders.divided(plan(Arch.AMD64), REQUEST, found)
    with pytest.raises(UserError, match="--on far: there is no such builder"):
        builders.ask(Request(tags=("cc-x",), build=True, on="far"), config)
    assert builders.ask(Request(tags=("cc-x",), push=True), config).found == ()  # type: ignore[union-attr]


def test_here_is_this_host_whatever_its_entry_is_called(tmp_path: Path) -> None:
    write_files(tmp_path, images="CC-X: {elements: [vm]}", sites="one: {directory: site}")
    (tmp_path / "builders.yaml").write_text("mine: {local: yes}\nfar: {ssh: far}\n")
    config = load({"HOME": str(tmp_path), "CC_IMAGES_STORE": str(tmp_path / "store")}, tmp_path)
    here = Request(tags=("cc-one",), build=True, on="here")
    found = builders.ask(here, config)
    assert isinstance(found, Asked)
    assert found.found == (), "the other one is not asked"
    told, away, _ = division.divided(plan(found.here.arch or Arch.AMD64), here, found)
    assert away is None
    assert "; on mine (" in told.tasks[0].reason


def test_a_run_without_anything_to_build_has_a_place_all_the_same() -> None:
    assert builders.Division(plan=plan(), here=0).places == 1


def test_what_no_builder_builds_for_is_left_out_of_a_plan() -> None:
    idle = Host(entry=BuilderHost(name="here", local=True), arch=Arch.AMD64, unfit="is not in builders.yaml")
    assert asked(host("one"), here=idle).builds == {Arch.AMD64}
    assert asked(host("one"), host("arm", "aarch64"), here=idle).builds == {*Arch}
    assert asked(host("one", architectures=("amd64", "arm64")), here=idle).builds == {*Arch}
    facts = builders.facts_for(asked(host("one"), here=idle))
    assert facts is not None
    assert facts.runs == {Arch.AMD64}
    assert facts.why_not.startswith("no builder")
