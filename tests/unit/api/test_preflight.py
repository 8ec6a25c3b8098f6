"""What is asked before anything runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.api import preflight, site_status
from cc_images.config.loader import load
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.model.plan import BuildJob, Plan, Request
from cc_images.model.site import Site
from tests.conftest import write_files
from tests.support.jobs import build_job
from tests.unit.planner.test_planner import BOTH, planned, state

GOOD = Site(name="good", directory="/nonexistent/d", is_baremetal=True)
WRONG = Site(name="wrong", cloud="nowhere", is_baremetal=True)
REGISTRY = Site(name="good", registry="registry.example.org/x")
AWAY = Site(name="away", cloud="away", is_baremetal=True)


def require(whole: Plan, sites: Sequence[Site], offline: bool = False) -> list[str]:
    """Ask on a host that has loop devices."""
    return preflight.require(whole, sites, offline, loop_control=Path(os.devnull))


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the host be able to do everything, and let sites answer by their names."""
    monkeypatch.setattr("cc_images.api.preflight.root.require_host", lambda hosts: None)
    monkeypatch.setattr("cc_images.api.preflight.inspector.require_host", lambda: None)
    for name in ("user_emulation.require_programs", "guest.require"):
        monkeypatch.setattr(f"cc_images.api.preflight.{name}", lambda wanted: None)

    class Opened:
        def __init__(self, site: Site, *rest: object) -> None:
            self.site = site

        def find(self, name: str) -> list[object]:
            asked.append(self.site.name)
            if self.site is WRONG:
                raise UserError("site wrong: clouds.yaml has no usable entry nowhere", hint="h", reason=Reason.CLOUD)
            if self.site is AWAY:
                raise CCImagesError("site away does not answer", hint="h", reason=Reason.UNREACHABLE, temporary=True)
            return []

        def refusal(self, name: str, properties: Mapping[str, str], publication: object) -> str:
            assert (self.site.registry, publication) == (REGISTRY.registry, None)
            if name == "CC-Y":
                raise CCImagesError("the registry is tired", hint="h", reason=Reason.UNREACHABLE, temporary=True)
            return f"{name.lower()}:1.0 exists, and the build may have other bytes"

    asked.clear()
    monkeypatch.setattr(preflight, "open_site", Opened)


asked: list[str] = []


def test_a_version_that_a_registry_has_is_said_before_anything_is_built() -> None:
    assert require(plan(GOOD), [REGISTRY], offline=True) == [
        "site good: cc-x:1.0 exists, and the build may have other bytes: raise the image's version, or say bump: yes"
    ]
    assert require(plan(GOOD), [GOOD], offline=True) == []


def plan(*sites: Site) -> Plan:
    return planned(BOTH, state(), state("CC-Y"), sites=sites)


def test_no_usable_site_is_said_before_a_build() -> None:
    with pytest.raises(UserError, match="no usable entry"):
        require(plan(WRONG), (WRONG,))
    assert asked == ["wrong"], "once, however many images go there"


def test_one_of_several_that_cannot_is_a_note() -> None:
    sites = (GOOD, WRONG, AWAY)
    assert require(plan(*sites), sites) == [
        "site wrong: clouds.yaml has no usable entry nowhere; pushes to it will fail",
        "site away does not answer; pushes to it will be tried anyway",
    ]


def test_a_night_without_a_build_asks_nobody_before() -> None:
    whole = plan(GOOD)
    quiet = replace(whole, tasks=tuple(replace(task, cached=not task.id.startswith("push")) for task in whole.tasks))
    assert require(quiet, (GOOD,)) == []
    assert asked == []


def test_a_host_without_loop_devices_is_told_before_a_build(tmp_path: Path) -> None:
    with pytest.raises(CCImagesError, match="loop devices"):
        preflight.require(plan(GOOD), (GOOD,), loop_control=tmp_path / "nowhere")


def test_a_mirror_that_does_not_answer_is_a_note() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://u:geheim@127.0.0.1:{server.getsockname()[1]}/debian"
    whole = plan(GOOD)
    tasks = tuple(
        replace(
            task,
            job=build_job(environment={"DIB_DISTRIBUTION_MIRROR": address, "DIB_X": "http://127.0.0.1:1/"}),
        )
        if isinstance(task.job, BuildJob)
        else task
        for task in whole.tasks
    )
    (said,) = require(replace(whole, tasks=tasks), (GOOD,))
    assert said.startswith("the mirror http://127.0.0.1:")
    assert "geheim" not in said
    assert require(replace(whole, tasks=tasks), (GOOD,), offline=True) == []


def test_a_dead_site_is_asked_once_for_all_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks: list[str] = []

    class Dead:
        def __init__(self, *words: object) -> None: ...

        def observe_each(self, names: Sequence[str]) -> None:
            asks.extend(names)
            raise CCImagesError("site x does not answer", hint="", reason=Reason.UNREACHABLE, temporary=True)

    write_files(tmp_path, images="A: {}\nB: {}\nC: {}\n", sites="x: {cloud: c, is_baremetal: true}")
    monkeypatch.setattr(site_status, "open_site", Dead)
    loaded = load({"HOME": str(tmp_path), "CC_IMAGES_SETTINGS": ""}, tmp_path)
    found = site_status.site_status(Request(tags=("all",)), loaded)
    assert [each.error for each in found] == ["site x does not answer"] * 3
    assert asks == ["A", "B", "C"], "all of them at once"
