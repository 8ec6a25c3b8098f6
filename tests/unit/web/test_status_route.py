"""The quick route of the status: it says what the other route says, and lets nobody in whom that would not."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from cc_images import clock
from cc_images.web.accounts import Role
from cc_images.web.tables import Token
from cc_images.web.tokens import Scope
from tests.support.servicebed import PASSWORDS, ServiceBed

RUN = "20261122T030000Z"


def waiting(bed: ServiceBed) -> str:
    bed.request("bob", "cc-two")
    return bed.request("ada", "cc-one")


def launched(bed: ServiceBed) -> str:
    build = bed.request("ada", "cc-one")
    bed.look()
    return build


def running(bed: ServiceBed) -> str:
    build = launched(bed)
    bed.plan(build, RUN, {"event": "started", "task": "build cc-one amd64"})
    bed.look()
    return build


def finished(bed: ServiceBed) -> str:
    build = running(bed)
    bed.stored(b"bytes", RUN)
    bed.finish(build, RUN)
    return build


def failed(bed: ServiceBed) -> str:
    build = running(bed)
    (bed.of(build) / "log").write_text("no more room\n")
    bed.runs.die(bed.of(build))
    bed.look()
    return build


def withdrawn(bed: ServiceBed) -> str:
    build = waiting(bed)
    assert bed.ask("ada", "DELETE", f"/build/{build}").json()["done"] == "cancelled"
    return build


@contextmanager
def questions() -> Iterator[list[str]]:
    """Yield what is asked of databases meanwhile."""
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def token(bed: ServiceBed, who: str = "ada", *scopes: Scope) -> str:
    account = bed.gatekeeper.accounts.by_name(who)
    assert account is not None
    return bed.gatekeeper.tokens.create(account, "x", scopes or (Scope.READ,), 30)[0]


def basic(name: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


@pytest.mark.parametrize("made", [waiting, launched, running, finished, failed, withdrawn])
@pytest.mark.parametrize("who", ["ada", "root", "token"])
def test_both_routes_say_the_same(bed: ServiceBed, made: Callable[[ServiceBed], str], who: str) -> None:
    build = made(bed)
    who = token(bed) if who == "token" else who
    first = bed.ask(who, "GET", f"/build/{build}")
    for path in (f"/build/{build}", f"/api/v1/build/{build}"):
        quick, other = (bed.ask(who, "GET", path + end) for end in ("", "?"))
        slow = bed.ask(who, "GET", path + "?other=route")
        for answer in (quick, other, slow):
            found = answer.json()
            assert (answer.status_code, found | {"estimate": 0}) == (200, first.json() | {"estimate": 0})
            assert (found["estimate"] is None) == (first.json()["estimate"] is None)
        assert quick.headers == slow.headers


def test_a_status_is_one_question(bed: ServiceBed) -> None:
    waits, runs = waiting(bed), running(bed)
    for who in ("ada", token(bed)):
        for build in (waits, runs):
            bed.ask(who, "GET", f"/build/{build}")
            with questions() as asked:
                assert bed.ask(who, "GET", f"/build/{build}").status_code == 200
            assert len(asked) == 1


def refused(bed: ServiceBed, build: str, headers: dict[str, str]) -> httpx.Response:
    answer = bed.ask("", "GET", f"/build/{build}", headers=headers)
    other = bed.ask("", "GET", f"/build/{build}?other=route", headers=headers)
    assert (answer.status_code, answer.content, answer.headers) == (other.status_code, other.content, other.headers)
    return answer


def test_a_token_that_has_ended_opens_nothing(bed: ServiceBed) -> None:
    build, (revoked, expired) = running(bed), (token(bed), token(bed))
    for each in (revoked, expired):
        assert bed.ask(each, "GET", f"/build/{build}").status_code == 200
    account = bed.gatekeeper.accounts.by_name("ada")
    assert account is not None
    assert bed.gatekeeper.tokens.revoke(account, revoked.split("_")[1])
    with bed.database.writing() as session:
        session.get_one(Token, expired.split("_")[1]).expires = clock.now() - timedelta(seconds=1)
    for each in (revoked, expired):
        assert refused(bed, build, {"authorization": f"Bearer {each}"}).status_code == 401


def test_a_token_opens_what_it_is_for(bed: ServiceBed) -> None:
    build, reads, builds = running(bed), token(bed), token(bed, "ada", Scope.BUILD)
    ends: list[tuple[dict[str, str], int]] = [
        ({"authorization": f"Bearer {reads}"}, 200),
        ({"authorization": f"bearer  {reads}"}, 200),
        (basic("ada", reads), 200),
        (basic("bob", reads), 401),
        (basic("", reads), 200),
        ({"authorization": f"Bearer {reads[:-1]}{'A' if reads[-1] != 'A' else 'B'}"}, 401),
        ({"authorization": f"Bearer {builds}"}, 403),
        ({"authorization": f"Basic {reads}"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({}, 401),
    ]
    for _ in range(2):  # a token's first use is noted by the other route
        for headers, status in ends:
            assert bed.ask("", "GET", f"/build/{build}", headers=headers).status_code == status, headers


def test_a_password_counts_as_it_is_now(bed: ServiceBed) -> None:
    build, old = running(bed), basic("ada", PASSWORDS["ada"])
    assert [bed.ask("ada", "GET", f"/build/{build}").status_code for _ in range(2)] == [200, 200]
    bed.gatekeeper.accounts.change_password("ada", "another long password")
    assert refused(bed, build, old).status_code == 401
    new = basic("ada", "another long password")
    assert [bed.ask("", "GET", f"/build/{build}", headers=new).status_code for _ in range(2)] == [200, 200]
    assert refused(bed, build, basic("ada", "a guess")).status_code == 401
    bed.gatekeeper.accounts.close("ada")
    assert refused(bed, build, new).status_code == 401


def test_a_closed_account_has_no_token(bed: ServiceBed) -> None:
    build, mine = running(bed), token(bed)
    assert [bed.ask(mine, "GET", f"/build/{build}").status_code for _ in range(2)] == [200, 200]
    bed.gatekeeper.accounts.close("ada")
    with bed.database.writing() as session:  # by the account alone
        session.get_one(Token, mine.split("_")[1]).revoked = None
    assert refused(bed, build, {"authorization": f"Bearer {mine}"}).status_code == 401


def test_what_is_somebody_elses_or_removed_is_not_there(bed: ServiceBed) -> None:
    build, others = finished(bed), token(bed, "bob")
    bed.ask(others, "GET", f"/build/{build}")
    assert refused(bed, build, {"authorization": f"Bearer {others}"}).status_code == 404
    bed.gatekeeper.accounts.give_role("bob", Role.ADMINISTRATOR)
    assert bed.ask(others, "GET", f"/build/{build}").json()["requesters"] == ["ada"]
    bed.gatekeeper.accounts.give_role("bob", Role.USER)
    assert refused(bed, build, {"authorization": f"Bearer {others}"}).status_code == 404
    mine = token(bed)
    assert [bed.ask(mine, "GET", f"/build/{build}").status_code for _ in range(2)] == [200, 200]
    assert bed.ask("ada", "DELETE", f"/build/{build}").json()["done"] == "removed"
    assert refused(bed, build, {"authorization": f"Bearer {mine}"}).status_code == 404


def test_the_figures_have_both_routes_as_one(bed: ServiceBed) -> None:
    build = running(bed)
    for path in (
        f"/build/{build}",
        f"/build/{build}?other=route",
        f"/api/v1/build/{build}",
        f"/api/v1/build/{build}?1",
    ):
        bed.ask("ada", "GET", path)
    counts = {route: count for (method, route, _), (count, _) in bed.app.state.figures.items() if method == "GET"}
    assert counts == {"/build/{id}": 4}
