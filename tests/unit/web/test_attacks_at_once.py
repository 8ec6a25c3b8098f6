"""Many at once, by one account: each request has one of the service's threads, and others need some, too."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cc_images.errors import CCImagesError
from cc_images.web.kinds import checked
from cc_images.web.pages import log_text
from cc_images.web.pages.planning import Planner
from cc_images.web.throttle import TooMany
from cc_images.web.value import BadRequest, Value
from tests.support.browser import Browser
from tests.support.servicebed import ServiceBed
from tests.support.workflows import Workflows, with_one_step

CUBE = {"platform": "linux/amd64", "architecture": "x86_64_v3", "container_engine": "singularity"}
STEP = {"machine": CUBE, "workflow": "flow", "step_id": "one"}


@pytest.fixture
def repository(tmp_path: Path) -> Workflows:
    made = with_one_step(tmp_path / "repository")
    (tmp_path / "settings.yaml").write_text(f"workflows: {{repo: '{made.address}'}}\n")
    return made


@pytest.fixture
def bed(repository: Workflows, bed: ServiceBed) -> ServiceBed:
    return bed


def test_who_asks_too_often_lets_no_repository_be_asked(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def noted(*what: Any) -> dict[str, str]:
        asked.append(what)
        return {}

    monkeypatch.setattr("cc_images.api.workflows.standing", noted)
    for _ in range(200):
        with suppress(TooMany):
            bed.service.requests.take(1)  # ada
    answers = [bed.ask(who, "POST", "/build", json=STEP).status_code for who in ("ada", "bob")]
    assert answers == [429, 200]
    assert len(asked) == 1


def test_few_wait_for_a_repository_that_is_slow(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    let = threading.Event()

    def slow(*what: Any) -> dict[str, str]:
        let.wait(20)
        return {}

    monkeypatch.setattr("cc_images.api.workflows.standing", slow)
    config = bed.service.catalogue.config

    def ask(number: int) -> int:
        try:
            checked(STEP, config)
        except BadRequest as bad:
            return bad.status
        return 200

    with ThreadPoolExecutor(40) as threads:
        asked = [threads.submit(ask, number) for number in range(40)]
        time.sleep(1)
        at_once = [each.result() for each in asked if each.done()]
        let.set()
        others = [each.result() for each in asked]
    assert {*at_once} == {503}
    assert len(at_once) >= 25
    assert others.count(200) >= 4


def test_few_wait_for_plans_and_an_account_for_one(bed: ServiceBed) -> None:
    let, begun = threading.Event(), threading.Event()

    class Slow(dict[str, object]):
        def __getitem__(self, name: str) -> object:
            begun.set()
            let.wait(20)
            raise CCImagesError("the end")

    planner, config = Planner(), bed.service.catalogue.config
    value = Value(kind="images", content=Slow())
    with ThreadPoolExecutor(40) as threads:
        first = threads.submit(planner.planned, value, config, 1)
        assert begun.wait(5)
        assert "of yours" in str(planner.planned(value, config, 1))
        asked = [threads.submit(planner.planned, value, config, owner) for owner in range(2, 40)]
        time.sleep(1)
        at_once = [str(each.result()) for each in asked if each.done()]
        let.set()
        assert {first.result(), *(each.result() for each in asked)} == {"the end", *at_once}
    assert {*at_once} == {"others are looking at plans; try again soon"}
    assert len(at_once) >= 25
    assert str(planner.planned(value, config, 1)) == "the end"


def test_few_search_logs_at_a_time(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    build, let = bed.request("ada", "cc-one"), threading.Event()
    ada = Browser(bed)
    ada.log_in("ada")
    cookies = dict(ada.cookies)

    def slow(*what: Any) -> log_text.Found:
        let.wait(20)
        return log_text.Found(lines=[], more=False)

    monkeypatch.setattr(log_text, "search", slow)

    def search(number: int) -> int:
        browser = Browser(bed)
        browser.cookies = dict(cookies)
        return browser.get(f"/requests/{build}/log?q=x").status_code

    with ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(search, number) for number in range(10)]
        time.sleep(1)
        at_once = [each.result() for each in asked if each.done()]
        ada.get(f"/requests/{build}/log")
        let.set()
        others = [each.result() for each in asked]
    assert ada.last.status_code == 200
    assert {*at_once} == {429}
    assert others.count(200) == 3
    assert search(0) == 200
