"""The form for an image for a machine: its errors beside the fields, its plan, its request."""

from __future__ import annotations

import html
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cc_images.web.pages.request_words import again
from cc_images.web.recent import Recent
from cc_images.web.views import BuildView
from tests.support.browser import Browser
from tests.support.servicebed import ServiceBed
from tests.support.workflows import with_one_step

MACHINES = "cube: {platform: linux/amd64, architecture: x86_64_v3, container-engine: singularity, mpi: openmpi@4}\n"

RIGHT: dict[str, Any] = {
    "kind": "machine",
    "workflow": "flow",
    "step_id": "one",
    "machine.platform": "linux/amd64",
    "machine.architecture": "haswell",
    "machine.container_engine": "podman",
}


@pytest.fixture
def ada(tmp_path: Path, bed: ServiceBed) -> Iterator[Browser]:
    made = with_one_step(tmp_path / "repository")
    (tmp_path / "machines.yaml").write_text(MACHINES)
    (tmp_path / "settings.yaml").write_text(
        f"workflows: {{repo: '{made.address}', served: ['{tmp_path / 'steps'}']}}\n"
    )
    again = bed.again()
    browser = Browser(again)
    browser.log_in("ada")
    browser.get("/new?kind=machine")
    yield browser
    again.database.close()


def test_a_request_for_a_machine_is_made(bed: ServiceBed, ada: Browser) -> None:
    assert '<option value="cube">cube</option>' in ada.get("/new?kind=machine").text
    ada.post("/new", None, **RIGHT, push="on")
    page = ada.follow().text
    assert "flow / one" in page
    assert "haswell" in page
    again = re.search(r'href="(/new\?kind=machine[^"]*)"', page)
    assert again
    form = ada.get(again[1].replace("&amp;", "&")).text
    assert 'name="machine.architecture" type="text" value="haswell"' in form
    assert '<option value="podman" selected>' in form
    (row,) = bed.ask("ada", "GET", "/builds").json()
    assert row["request"]["machine"]["architecture"] == "haswell"
    assert row["request"]["push"] is True


def test_a_machine_can_be_chosen_by_its_name(bed: ServiceBed, ada: Browser) -> None:
    ada.post("/new", kind="machine", workflow="flow", step_id="one", machine="cube")
    assert ada.last.status_code == 303, ada.last.text
    assert bed.ask("ada", "GET", "/builds").json()[0]["request"]["machine"]["architecture"] == "x86_64_v3"


def test_a_request_with_a_folder_and_images_of_its_own_is_made_again_as_it_was(
    tmp_path: Path, bed: ServiceBed, ada: Browser
) -> None:
    (tmp_path / "steps/one").mkdir(parents=True)
    (tmp_path / "steps/one/eflows4hpc.yaml").write_text("apt: [less]\n")
    own = {"path": "one", "machine.base": "cc-one", "machine.spack-builder": "cc-two"}
    ada.post("/new", None, **(RIGHT | own))
    found = re.search(r'href="(/new\?kind=machine[^"]*)"', ada.follow().text)
    assert found
    address = html.unescape(found[1])
    page = ada.get(address).text
    fields = dict(re.findall(r'<input id="([^"]+)" name="[^"]+" type="text" value="([^"]*)"', page))
    fields |= dict(re.findall(r'<select id="([^"]+)".*?<option value="([^"]*)" selected>', page, re.DOTALL))
    first = bed.ask("ada", "GET", "/builds").json()[0]["request"]
    assert (first["path"], first["machine"]["base"]) == (str(tmp_path / "steps/one"), "cc-one")
    answer = ada.post("/new", None, **(fields | {"kind": "machine"}))
    assert answer.status_code == 303, answer.text
    (row,) = bed.ask("ada", "GET", "/builds").json()
    assert row["request"] == first, "the same request joins the build that waits"

    settings = tmp_path / "settings.yaml"
    settings.write_text(re.sub("served: .*]", "served: []", settings.read_text()))
    assert 'name="path"' not in ada.get("/new?kind=machine").text, "no folder is served"
    assert 'name="path"' in ada.get(address).text, "it is not requested again as something else"


def test_what_no_form_can_say_is_not_requested_again(bed: ServiceBed, ada: Browser) -> None:
    ada.post("/new", None, **RIGHT)
    build = BuildView(**bed.ask("ada", "GET", "/builds").json()[0])
    assert again(build)
    assert not again(build.model_copy(update={"request": build.request | {"more": "x"}}))
    assert not again(build.model_copy(update={"kind": "push"}))


WRONG = [
    ("workflow", ""),
    ("workflow", "x; rm -rf /"),
    ("step_id", "<script>alert(1)</script>"),
    ("version", "a b"),
    ("machine.platform", ""),
    ("machine.platform", "vax"),
    ("machine.architecture", ""),
    ("machine.architecture", "$(id)"),
    ("machine.container_engine", ""),
    ("machine.mpi", "x; rm -rf /"),
    ("machine.gpu", "`id`"),
    ("path", "/etc"),
    ("machine.base", "cc-nothing"),
    ("machine.spack-builder", "$(id)"),
]


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_each_field_tells_what_is_wrong_with_it(bed: ServiceBed, ada: Browser, name: str, text: str) -> None:
    answer = ada.post("/new", None, **(RIGHT | {name: text}))
    assert answer.status_code == 400
    found = re.findall(r'<p class="error" id="([^"]+)-said">', answer.text)
    assert found == [name], re.findall(r'role="alert">([^<]*)', answer.text)
    assert "<script>alert" not in answer.text
    assert bed.ask("ada", "GET", "/builds").json() == []


def test_requests_of_one_step_can_be_told_from_each_other(bed: ServiceBed, ada: Browser) -> None:
    ada.post("/new", None, **RIGHT)
    ada.post("/new", None, **(RIGHT | {"machine.mpi": "openmpi@4", "force": "on"}))
    other, one = re.findall(r'<p class="detail">([^<]*)</p>', ada.get("/requests").text)
    (commit,) = {each["request"]["commit"] for each in bed.ask("ada", "GET", "/builds").json()}
    assert one == f"linux/amd64 · haswell · podman · commit {commit[:12]}"
    assert other == f"linux/amd64 · haswell · podman · openmpi@4 · commit {commit[:12]} · by force"


def test_a_form_with_nothing_in_it_names_a_field(bed: ServiceBed, ada: Browser) -> None:
    answer = ada.post("/new", kind="machine")
    assert answer.status_code == 400
    assert 'class="error"' in answer.text


def test_what_it_would_do_is_shown(bed: ServiceBed, ada: Browser) -> None:
    answer = ada.post("/new", None, **RIGHT, plan="yes")
    assert answer.status_code == 200
    assert "What it would do" in answer.text
    assert bed.ask("ada", "GET", "/builds").json() == []
    assert "no plan" in answer.text, "the base image is not in the catalogue of this test"
    assert "cc-debian12-container, the default, is not in the catalogue" in answer.text


def test_the_form_proposes_the_workflows_of_the_repository(bed: ServiceBed, ada: Browser) -> None:
    deadline = time.monotonic() + 20
    while "workflow-known" not in (page := ada.get("/new?kind=machine").text):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert '<input id="workflow"' in page
    assert 'list="workflow-known"' in page
    assert '<option value="flow" label="flow: one">' in page
    assert '<option value="one" label="one: of flow">' in page
    other = bed.again()
    assert other.ask("ada", "GET", "/workflows").json() == [{"workflow": "flow", "steps": ["one"]}]
    other.database.close()


def test_nobody_waits_for_the_repository(bed: ServiceBed) -> None:
    (bed.folder / "machines.yaml").write_text(MACHINES)
    slow = bed.again()
    ada = Browser(slow)
    ada.log_in("ada")
    let = threading.Event()
    slow.app.state.workflows = Recent("a repository", lambda: {"late": ("one",)} if let.wait(30) else {})
    began = time.monotonic()
    assert "workflow-known" not in ada.get("/new?kind=machine").text
    assert "workflow-known" not in ada.get("/new?kind=machine").text
    assert time.monotonic() - began < 5
    let.set()
    assert slow.ask("ada", "GET", "/workflows").json() == [{"workflow": "late", "steps": ["one"]}]
    assert '<option value="late"' in ada.get("/new?kind=machine").text
    slow.database.close()


def test_a_service_without_workflows_and_machines_offers_no_form_for_them(bed: ServiceBed) -> None:
    root = Browser(bed)
    root.log_in("root")
    assert "kind=machine" not in root.get("/new").text
    page = root.get("/new?kind=machine").text
    assert "no workflows and no machines: settings.yaml names a repository" in page
    assert "Start build" not in page
    assert bed.ask("ada", "GET", "/workflows").json() == []
    (bed.folder / "machines.yaml").write_text(MACHINES)
    other = bed.again()
    ada = Browser(other)
    ada.log_in("ada")
    assert "kind=machine" in ada.get("/new").text
    assert "Start build" in ada.get("/new?kind=machine").text
    other.database.close()
