"""The form for an image for a machine: its errors beside the fields, its plan, its request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser
from tests.support.servicebed import ServiceBed
from tests.support.workflows import Workflows

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
    made = Workflows(tmp_path / "repository")
    made.write("flow/one", eflows4hpc__yaml="apt: [less]\n")
    made.commit(tag="v1")
    (tmp_path / "machines.yaml").write_text(MACHINES)
    (tmp_path / "settings.yaml").write_text(f"workflows: {{repo: '{made.address}'}}\n")
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
]


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_each_field_tells_what_is_wrong_with_it(bed: ServiceBed, ada: Browser, name: str, text: str) -> None:
    answer = ada.post("/new", None, **(RIGHT | {name: text}))
    assert answer.status_code == 400
    found = re.findall(r'<p class="error" id="([^"]+)-said">', answer.text)
    assert found == [name], re.findall(r'role="alert">([^<]*)', answer.text)
    assert "<script>alert" not in answer.text
    assert bed.ask("ada", "GET", "/builds").json() == []


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
