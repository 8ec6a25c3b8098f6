"""Hostile pages and guesses: forged requests, fixed sessions, and accounts told by what an answer costs."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher

from cc_images.web.sessions import COOKIE, csrf_token
from cc_images.web.tables import Account
from cc_images.web.throttle import TooMany
from tests.support.servicebed import PASSWORDS, ServiceBed
from tests.unit.web.test_interface import FILE, finished


def account(bed: ServiceBed, name: str) -> Account:
    return next(each for each in bed.gatekeeper.accounts.everyone() if each.name == name)


def session(bed: ServiceBed, name: str = "ada") -> str:
    return bed.gatekeeper.sessions.open(account(bed, name))


def by_cookie(bed: ServiceBed, number: str, method: str, path: str, **headers: str) -> httpx.Response:
    said = {"cookie": f"{COOKIE}={number}"} | {name.replace("_", "-"): each for name, each in headers.items()}
    return bed.ask("", method, path, headers=said, json={})


def api(bed: ServiceBed) -> list[tuple[str, str]]:
    document = bed.ask("", "GET", "/api/v1/openapi.json").json()
    found = [
        (method.upper(), re.sub(r"{\w+}", "x", path))
        for path, operations in document["paths"].items()
        for method in operations
        if method not in ("get", "head") and not path.endswith("/sign-up")
    ]
    assert len(found) >= 6
    older = [(method, path.removeprefix("/api/v1")) for method, path in found]
    paths = {getattr(each, "path", "") for each in bed.app.routes}
    return [*found, *((method, path) for method, path in older if path in paths), ("POST", "/build/")]


def test_a_session_changes_nothing_without_its_own_token(bed: ServiceBed) -> None:
    mine, theirs = session(bed, "root"), session(bed, "bob")
    forged = ("", "x", csrf_token(theirs), csrf_token(""), mine, hashlib.sha256(mine.encode()).hexdigest())
    for method, path in api(bed):
        assert by_cookie(bed, mine, method, path).status_code == 403, path
        for token in forged:
            answer = by_cookie(bed, mine, method, path, x_csrf_token=token)
            assert (answer.status_code, "CSRF" in answer.text) == (403, True), (method, path)
        assert by_cookie(bed, mine, method, path, x_csrf_token=csrf_token(mine)).status_code in (200, 400, 404), path


OTHER_SITES: tuple[dict[str, str], ...] = (
    {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"origin": "https://evil.example"},
    {"origin": "null"}, {"origin": "http://service.evil.example"}, {"origin": "http://evil.example/service"},
)  # fmt: skip


def test_a_page_of_another_site_changes_nothing_though_the_browser_adds_password_or_cookie(bed: ServiceBed) -> None:
    finished(bed)
    mine = session(bed)
    for headers in OTHER_SITES:
        said = {name.replace("_", "-"): each for name, each in headers.items()}
        answer = bed.ask("ada", "POST", f"/images/{FILE}/push", headers=said)
        assert (answer.status_code, "another site" in answer.text) == (403, True), headers
        assert by_cookie(bed, mine, "POST", "/tokens", x_csrf_token=csrf_token(mine), **headers).status_code == 403
        assert bed.ask("ada", "GET", "/account", headers=said).status_code == 200, "nothing is changed by reading"
    own: tuple[dict[str, str], ...] = (
        {"origin": "http://service"}, {"origin": "https://SERVICE:8443"}, {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    )  # fmt: skip
    for said in own:
        assert bed.ask("ada", "POST", f"/images/{FILE}/push", headers=said).status_code == 200
    token = bed.ask("ada", "POST", "/tokens", json={"scopes": ["push", "build"]}).json()["token"]
    answer = bed.ask(token, "POST", f"/images/{FILE}/push", headers={"origin": "https://tools.example"})
    assert answer.status_code == 200, "no browser adds a token by itself"


def test_a_form_of_another_site_is_no_request(bed: ServiceBed) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        content = b'{"images": ["cc-one"]}'
        answer = bed.ask("ada", "POST", "/build", content=content, headers={"content-type": kind})
        assert answer.status_code == 400, kind
    assert bed.ask("ada", "GET", "/builds").json() == []


def test_nobody_fixes_a_session_beforehand(bed: ServiceBed) -> None:
    for number in ("chosen", "", "0" * 43, session(bed)[:-1], "x" * 5000, "\xe4"):
        headers = {"cookie": f"{COOKIE}={number}".encode("latin-1")}
        answer = bed.ask("", "GET", "/account", headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        answer = bed.ask("ada", "GET", "/account", headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
        assert bed.ask("", "GET", "/account", headers=headers).status_code == 401, "it became no session"
    assert len({session(bed) for _ in range(20)}) == 20


def test_a_wrong_password_is_not_helped_by_a_session(bed: ServiceBed) -> None:
    cookie = {"cookie": f"{COOKIE}={session(bed)}"}
    assert bed.ask("", "GET", "/account", headers=cookie).status_code == 200
    assert bed.ask("", "GET", "/account", headers=cookie, auth=("ada", "wrong password")).status_code == 401
    assert bed.ask("", "GET", "/account", headers=cookie | {"authorization": "Odd x"}).status_code == 401


def test_a_session_ends_with_its_password_and_its_account(bed: ServiceBed) -> None:
    one, other = session(bed), session(bed, "bob")
    said = {"old": PASSWORDS["ada"], "new": "another horse battery"}
    assert bed.ask("ada", "POST", "/account/password", json=said).status_code == 200
    assert by_cookie(bed, one, "GET", "/account").status_code == 401
    assert by_cookie(bed, other, "GET", "/account").status_code == 200
    bed.gatekeeper.accounts.close("bob")
    assert by_cookie(bed, other, "GET", "/account").status_code == 401


NAMES = ("ada", "nobody", "closed", "ADA", "", "a" * 400, "x\0y", "root\r\n")
WRONG = ("a wrong password", "", "x" * 5000, "\0" * 20)


def test_accounts_are_not_told_by_work(bed: ServiceBed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt hashes once, and adds one row to the audit log, whoever it is for."""
    bed = bed.again(tries=1000)
    bed.gatekeeper.accounts.add("closed", "a password of its own")
    bed.gatekeeper.accounts.close("closed")
    newest(bed)  # by a password that is remembered from then on
    hashed: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, known: str | bytes, password: str | bytes) -> Any:
        hashed.append(str(known))
        return verify(self, known, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    for name in NAMES:
        for password in WRONG:
            before, rows = len(hashed), newest(bed)
            assert bed.ask("", "GET", "/account", auth=(name, password)).status_code == 401
            assert (len(hashed) - before, newest(bed) - rows) == (1, 1), (name, password[:20])
    assert len({tuple(each.split("$")[:4]) for each in hashed}) == 1, "by the same parameters"
    bed.close()


def newest(bed: ServiceBed) -> int:
    return int(bed.ask("root", "GET", "/audit").json()[0]["id"])


def test_guesses_from_one_network_count_together(bed: ServiceBed) -> None:
    known = bed.gatekeeper.accounts
    for number in range(30):
        known.log_in(f"name{number}", "a wrong password", f"2001:db8::{number:x}")
    with pytest.raises(TooMany):
        known.log_in("fresh", "a wrong password", "2001:db8::ffff")
    known.log_in("fresh", "a wrong password", "2001:db8:0:1::1")
    for number in range(30):
        known.log_in(f"other{number}", "a wrong password", f"198.51.100.{number}")
    known.log_in("fresh", "a wrong password", "198.51.100.99")


def test_answers_to_wrong_tokens_are_one(bed: ServiceBed) -> None:
    made = bed.ask("ada", "POST", "/tokens", json={"scopes": ["read"]}).json()
    id, text = made["id"], made["token"]
    wrong = [f"cci_{id}_{'x' * 43}", f"cci_{'0' * 12}_{'x' * 43}", text[:-1], text + "x", text.upper(), "cci_", ""]
    asked = [bed.ask("", "GET", "/account", headers={"authorization": f"Bearer {word}"}) for word in wrong]
    answers = {(each.status_code, each.content) for each in asked}
    assert len(answers) == 1
    for name in ("bob", "nobody"):
        assert bed.ask("", "GET", "/account", auth=(name, text)).status_code == 401, "it is ada's"
    assert bed.ask("", "GET", "/account", auth=("ada", text)).status_code == 200
