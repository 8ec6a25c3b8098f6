"""Sweeping: what is removed after how long, and what never."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from cc_images import clock
from cc_images.web.sweeper import AUDITED
from cc_images.web.tables import Audit, Base, Build, Invitation, LogIn, Token
from cc_images.web.tokens import Scope
from tests.support.browser import Browser
from tests.support.servicebed import ServiceBed
from tests.unit.web.test_interface import FILE, finished


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> datetime:
    moment = clock.now() + timedelta(days=days)
    monkeypatch.setattr("cc_images.clock.now", lambda: moment)
    return moment


def count(bed: ServiceBed, table: type[Base]) -> int:
    with bed.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_log_of_an_old_build_is_removed_and_that_is_said(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    build = finished(bed, log=b"first\n")
    later(monkeypatch, 89)
    assert bed.service.sweeper.sweep() == 0
    assert bed.ask("ada", "GET", f"/build/{build}/log").text == "first\n"
    moment = later(monkeypatch, 2)
    assert bed.service.sweeper.sweep() == 1
    assert not bed.of(build).exists()
    for what in ({}, {"params": {"follow": "true"}}, {"params": {"task": "build cc-one amd64"}}):
        answer = bed.ask("ada", "GET", f"/build/{build}/log", **what)
        assert (answer.status_code, answer.json()["message"]) == (
            404, f"the log was removed on {moment.date()}: logs are kept for 90 days after the end of a build"
        )  # fmt: skip
    browser = Browser(bed)
    browser.log_in("ada")
    assert f"The log was removed on {moment.date()}" in browser.get(f"/requests/{build}/log").text
    assert bed.ask("bob", "GET", f"/build/{build}/log").json()["message"] == "there is no such build"
    said = bed.ask("ada", "GET", f"/build/{build}").json()
    assert (said["status"], said["filename"], bool(said["log_removed"])) == ("FINISHED", FILE, True)
    assert bed.service.sweeper.sweep() == 0


def test_a_failed_build_keeps_its_message(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    build = bed.request("ada", "cc-one")
    bed.look()
    bed.runs.note(bed.of(build), run="20261122T030000Z", state="failed", message="the hook 10-x failed")
    bed.runs.die(bed.of(build))
    bed.look()
    later(monkeypatch, 91)
    bed.service.sweeper.sweep()
    said = bed.ask("ada", "GET", f"/build/{build}").json()
    assert (said["status"], said["message"], said["log_tail"]) == ("FAILED", "the hook 10-x failed", [])


def test_what_waits_or_runs_is_never_removed(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    over = finished(bed)
    running, waiting = bed.request("ada", "cc-two"), bed.request("ada", "cc-two", force=True)
    with bed.database.writing() as session:
        session.scalars(select(Build).where(Build.id == waiting)).one().cancelled = False
    bed.look()
    bed.runs.launch(bed.of(over), [])  # a process that lives, whatever the database says
    later(monkeypatch, 1000)
    assert bed.service.sweeper.sweep() == 0
    assert bed.of(over).exists()
    assert bed.of(running).exists()
    bed.runs.die(bed.of(over))
    assert bed.service.sweeper.sweep() == 1


def test_a_folder_that_cannot_be_removed_keeps_no_other(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finished(bed)
    second = bed.request("bob", "cc-two")
    bed.look()
    bed.plan(second, "20261125T030000Z")
    bed.look()
    bed.finish(second, "20261125T030000Z", "cc-two")
    (bed.of(first) / "lock").unlink()
    (bed.of(first) / "lock").mkdir()  # no lock can be taken
    later(monkeypatch, 91)
    assert bed.service.sweeper.sweep() == 1
    assert (bed.of(first).exists(), bed.of(second).exists()) == (True, False)


def test_rows_that_serve_nobody_are_removed(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = bed.gatekeeper.accounts.by_name("ada")
    assert ada is not None
    invitations = bed.service.entrance.invitations
    for days in (3, 80):
        bed.gatekeeper.tokens.create(ada, "", [Scope.READ], days)
        invitations.create("", days)
    bed.gatekeeper.sessions.open(ada)
    later(monkeypatch, 4)
    bed.service.sweeper.sweep()
    found = [count(bed, table) for table in (LogIn, Token, Invitation)]
    assert found == [0, 2, 2], "what has just expired is still listed"
    later(monkeypatch, 30)
    bed.service.sweeper.sweep()
    assert [count(bed, table) for table in (Token, Invitation)] == [1, 1]
    invitations.revoke(invitations.everything()[0].id)
    assert bed.gatekeeper.tokens.revoke(ada, bed.gatekeeper.tokens.of(ada)[0].id)
    later(monkeypatch, 31)
    bed.service.sweeper.sweep()
    assert [count(bed, table) for table in (Token, Invitation)] == [0, 0]
    assert count(bed, Audit) > 0
    later(monkeypatch, AUDITED.days)
    bed.service.sweeper.sweep()
    assert count(bed, Audit) == 0


def test_it_sweeps_by_itself(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    build = finished(bed)
    later(monkeypatch, 91)
    bed.service.sweeper.start()
    for _ in range(500):
        if not bed.of(build).exists():
            break
        time.sleep(0.01)
    bed.service.sweeper.close()
    assert not bed.of(build).exists()
