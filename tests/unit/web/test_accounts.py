"""Accounts, tokens, sessions: who somebody is, and for how long."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta

import pytest

from cc_images import clock
from cc_images.errors import UserError
from cc_images.web import sessions as session_module
from cc_images.web.accounts import Accounts
from cc_images.web.passwords import Cost, Passwords
from cc_images.web.tables import Account, Token
from cc_images.web.throttle import Throttle, TooMany
from cc_images.web.tokens import Scope
from tests.support.servicebed import PASSWORDS, ServiceBed


def account(bed: ServiceBed, name: str = "ada") -> Account:
    found = bed.gatekeeper.accounts.log_in(name, PASSWORDS[name], "here")
    assert found is not None
    return found


def later(monkeypatch: pytest.MonkeyPatch, **much: int) -> None:
    moment = clock.now() + timedelta(**much)
    monkeypatch.setattr("cc_images.clock.now", lambda: moment)


def test_passwords_are_hashed_by_argon2(bed: ServiceBed) -> None:
    assert account(bed).password.startswith("$argon2id$")
    assert bed.gatekeeper.accounts.log_in("ada", PASSWORDS["bob"], "here") is None
    assert bed.gatekeeper.accounts.log_in("nobody", PASSWORDS["bob"], "here") is None


@pytest.mark.parametrize("name", ["", "Ada", "a b", "-x", "a" * 33, "a\n", "ä", "../x"])
def test_names_are_plain(bed: ServiceBed, name: str) -> None:
    with pytest.raises(UserError, match="cannot be the name"):
        bed.gatekeeper.accounts.add(name, "long enough for all")


@pytest.mark.parametrize("password", ["short", "x" * 201])
def test_passwords_have_a_length(bed: ServiceBed, password: str) -> None:
    with pytest.raises(UserError, match="10 to 200"):
        bed.gatekeeper.accounts.add("eve", password)


def test_a_name_is_taken_once_also_by_a_closed_account(bed: ServiceBed) -> None:
    bed.gatekeeper.accounts.close("bob")
    with pytest.raises(UserError, match="there is an account bob"):
        bed.gatekeeper.accounts.add("bob", "long enough for all")


def test_a_closed_account_is_nobody(bed: ServiceBed) -> None:
    token, _ = bed.gatekeeper.tokens.create(account(bed), "mine", [Scope.READ], 5)
    number = bed.gatekeeper.sessions.open(account(bed))
    bed.gatekeeper.accounts.close("ada")
    assert bed.gatekeeper.accounts.log_in("ada", PASSWORDS["ada"], "here") is None
    assert bed.gatekeeper.tokens.owner(token) is None
    assert bed.gatekeeper.sessions.owner(number) is None


def test_a_new_password_ends_sessions_and_the_old_one(bed: ServiceBed) -> None:
    number = bed.gatekeeper.sessions.open(account(bed))
    said = {"old": PASSWORDS["ada"], "new": "another long password"}
    assert bed.ask("ada", "POST", "/account/password", json=said | {"old": "wrong password"}).status_code == 400
    assert bed.ask("ada", "POST", "/account/password", json=said).status_code == 200
    assert bed.gatekeeper.sessions.owner(number) is None
    assert bed.ask("ada", "GET", "/account").status_code == 401
    assert bed.gatekeeper.accounts.log_in("ada", "another long password", "here") is not None


def test_a_token_is_shown_once_and_kept_as_a_digest(bed: ServiceBed) -> None:
    made = bed.ask("ada", "POST", "/tokens", json={"label": "ci", "scopes": ["read", "build"], "days": 7}).json()
    assert bed.ask(made["token"], "GET", "/account").json()["scopes"] == ["build", "read"]
    secret = made["token"].split("_", 2)[2].encode()
    assert not any(secret in each.read_bytes() for each in bed.store.root.glob("service.sqlite*"))
    with bed.database.reading() as session:
        (row,) = session.query(Token)
    assert row.digest == hashlib.sha256(made["token"].split("_", 2)[2].encode()).hexdigest()
    assert "token" not in bed.ask("ada", "GET", "/tokens").json()[0]


def test_a_token_may_do_what_its_scopes_say(bed: ServiceBed) -> None:
    tokens = {
        scope: bed.ask("ada", "POST", "/tokens", json={"scopes": scope.split(), "days": 7}).json()["token"]
        for scope in ("read", "build", "build push read")
    }
    wanted = {"images": ["cc-one"]}
    assert bed.ask(tokens["read"], "POST", "/build", json=wanted).status_code == 403
    assert bed.ask(tokens["build"], "POST", "/build", json=wanted).status_code == 200
    assert bed.ask(tokens["build"], "GET", "/builds").status_code == 403
    answer = bed.ask(tokens["build"], "POST", "/build", json=wanted | {"push": True})
    assert (answer.status_code, answer.json()["field"]) == (403, "push")
    assert bed.ask(tokens["build push read"], "POST", "/build", json=wanted | {"push": True}).status_code == 200
    for method, path in (
        ("GET", "/tokens"),
        ("POST", "/tokens"),
        ("DELETE", "/tokens/x"),
        ("POST", "/account/password"),
    ):
        assert bed.ask(tokens["build push read"], method, path, json={}).status_code == 403, "no token makes tokens"


def test_a_token_ends(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bed.ask("ada", "POST", "/tokens", json={"scopes": ["read"], "days": 2}).json()
    other = bed.ask("ada", "POST", "/tokens", json={"scopes": ["read"], "days": 9}).json()
    assert bed.ask("bob", "DELETE", f"/tokens/{other['id']}").status_code == 404
    assert bed.ask("ada", "DELETE", f"/tokens/{other['id']}").status_code == 200
    assert bed.ask(other["token"], "GET", "/account").status_code == 401
    assert bed.ask(made["token"], "GET", "/account").status_code == 200
    later(monkeypatch, days=2)
    assert bed.ask(made["token"], "GET", "/account").status_code == 401


def test_a_token_stands_in_for_the_password(bed: ServiceBed) -> None:
    made = bed.ask("ada", "POST", "/tokens", json={"scopes": ["read"]}).json()["token"]
    for name, status in (("ada", 200), ("bob", 401)):
        transport = bed.ask("", "GET", "/account", auth=(name, made))
        assert transport.status_code == status


def test_sessions_end(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    number = bed.gatekeeper.sessions.open(account(bed))
    other = bed.gatekeeper.sessions.open(account(bed))
    assert number != other
    bed.gatekeeper.sessions.close(other)
    assert bed.gatekeeper.sessions.owner(other) is None
    for hours in range(1, 7 * 24, 11):
        later(monkeypatch, hours=11)
        found = bed.gatekeeper.sessions.owner(number)
        assert (found is not None) == (hours + 10 < 7 * 24), "used all the time, it lasts a week"
    assert session_module.cookie_options(secure=True) | {"max_age": 0} == {
        "httponly": True, "samesite": "lax", "secure": True, "path": "/", "max_age": 0
    }  # fmt: skip


def test_a_session_that_is_not_used_ends(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    number = bed.gatekeeper.sessions.open(account(bed))
    later(monkeypatch, hours=13)
    assert bed.gatekeeper.sessions.owner(number) is None


def test_a_session_changes_nothing_without_its_csrf_token(bed: ServiceBed) -> None:
    number, other = bed.gatekeeper.sessions.open(account(bed)), bed.gatekeeper.sessions.open(account(bed))
    cookie = {"cookie": f"{session_module.COOKIE}={number}"}
    wanted = {"images": ["cc-one"]}
    assert bed.ask("", "GET", "/builds", headers=cookie).status_code == 200
    assert bed.ask("", "POST", "/build", headers=cookie, json=wanted).status_code == 403
    for token, status in ((session_module.csrf_token(other), 403), (session_module.csrf_token(number), 200)):
        headers = cookie | {"x-csrf-token": token}
        assert bed.ask("", "POST", "/build", headers=headers, json=wanted).status_code == status


def test_a_throttle_lets_a_few_through_and_then_one_by_one() -> None:
    now = [0.0]
    throttle = Throttle(3, 60.0, lambda: now[0])
    for _ in range(3):
        throttle.take("a")
    with pytest.raises(TooMany) as caught:
        throttle.take("a")
    assert caught.value.wait == pytest.approx(20.0)
    throttle.take("b")
    now[0] = 20.0
    throttle.take("a")
    with pytest.raises(TooMany):
        throttle.take("a")
    throttle.forgive("a")
    throttle.take("a")
    now[0] = 200.0
    for _ in range(3):
        throttle.take("a")


def test_many_who_log_in_at_once_from_one_place_are_no_guessers(bed: ServiceBed) -> None:
    """A class whose service has just started again: each password is right, and none is known yet."""
    Accounts(bed.database, Passwords(Cost(time=2, memory=4096, lanes=1))).change_password("ada", PASSWORDS["ada"])
    known = Accounts(bed.database, Passwords(Cost(time=2, memory=4096, lanes=1)), Throttle(3, 60.0), Throttle(5, 60.0))
    start, found = threading.Barrier(20), list[Account | None]()

    def log_in() -> None:
        start.wait()
        found.append(known.log_in("ada", PASSWORDS["ada"], "192.0.2.1"))

    threads = [threading.Thread(target=log_in) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [each.name for each in found if each is not None] == ["ada"] * 20
