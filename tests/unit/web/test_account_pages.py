"""Pages of accounts: one's own, sign-up, and those for administrators."""

from __future__ import annotations

import re

import pytest

from cc_images.model.service_terms import Limits, SignUp
from cc_images.web.pages.amounts import size, typed, whole
from cc_images.web.sessions import COOKIE
from tests.support.browser import Browser
from tests.support.servicebed import PASSWORDS, ServiceBed
from tests.unit.web.test_interface import CONTENT, finished

PASSWORD = "a long enough password"
ADMINISTRATION = "/administration"


def member(bed: ServiceBed, who: str = "ada", page: str = "/me") -> Browser:
    """Return the browser of somebody who has logged in and looks at a page."""
    browser = Browser(bed)
    browser.log_in(who)
    assert browser.get(page).status_code == 200, browser.last.text
    return browser


def shown(browser: Browser, id: str) -> str:
    """Return the text that a page shows to be copied."""
    found = re.search(rf'<code id="{id}">([^<]*)</code>', browser.last.text)
    assert found is not None, browser.last.text
    return found[1]


def test_the_account_shows_what_it_uses(bed: ServiceBed) -> None:
    bed = bed.again(Limits(bytes=10 * len(CONTENT)))
    finished(bed)
    bed.request("ada", "cc-two")
    text = member(bed).last.text
    for said in ("0 of 2", "1 of 20", "5.0 KiB of 50.0 KiB"):
        assert said in text
    bed.close()


def test_a_new_password_ends_the_other_sessions_of_the_account(bed: ServiceBed) -> None:
    browser, other, theirs = member(bed), member(bed), member(bed, "bob")
    before = browser.cookies[COOKIE]
    answer = browser.post("/me/password", old=PASSWORDS["ada"], new=PASSWORD, again=PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/me?notice=password")
    assert "All other sessions have ended" in browser.follow().text
    assert browser.cookies[COOKIE] != before
    assert bed.gatekeeper.sessions.owner(before) is None
    assert (browser.get("/me").status_code, other.get("/me").status_code, theirs.get("/me").status_code) == (
        200, 303, 200
    )  # fmt: skip
    assert bed.ask("", "GET", "/account", auth=("ada", PASSWORD)).status_code == 200


@pytest.mark.parametrize(
    ("old", "new", "again", "said"),
    [
        ("wrong password", PASSWORD, PASSWORD, "That is not the password"),
        (PASSWORDS["ada"], PASSWORD, PASSWORD + "!", "The two differ"),
        (PASSWORDS["ada"], "short", "short", "a password has 10 to 200 characters"),
    ],
)
def test_a_password_that_cannot_be(bed: ServiceBed, old: str, new: str, again: str, said: str) -> None:
    browser = member(bed)
    answer = browser.post("/me/password", old=old, new=new, again=again)
    assert (answer.status_code, said in answer.text) == (400, True)
    assert new not in answer.text, "no password stands on a page"
    assert bed.ask("ada", "GET", "/account").status_code == 200


def test_a_session_cannot_guess_the_password(bed: ServiceBed) -> None:
    bed = bed.again(tries=3)
    browser = member(bed)
    guesses = [
        browser.post("/me/password", old=f"guess {n}", new=PASSWORD, again=PASSWORD).status_code for n in range(4)
    ]
    assert guesses == [400, 400, 400, 429]
    bed.close()


def test_a_token_is_shown_once_and_revoked(bed: ServiceBed) -> None:
    browser = member(bed)
    answer = browser.post("/me/tokens", label="<b>ci</b>", days="7", scopes=["read", "build"])
    assert answer.status_code == 200
    token = shown(browser, "token")
    assert bed.ask(token, "GET", "/account").json()["scopes"] == ["build", "read"]
    text = browser.get("/me").text
    assert token not in text
    assert "&lt;b&gt;ci&lt;/b&gt;" in text
    (row,) = bed.ask("ada", "GET", "/tokens").json()
    theirs = member(bed, "bob")
    assert theirs.post(f"/me/tokens/{row['id']}/revoke").status_code == 404
    assert browser.post(f"/me/tokens/{row['id']}/revoke").status_code == 303
    assert "It is revoked" in browser.follow().text
    assert bed.ask(token, "GET", "/account").status_code == 401


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"days": "7"}, "At least one"), ({"days": "7", "scopes": ["account"]}, "At least one"),
        ({"days": "0", "scopes": ["read"]}, "a whole number from 1 to 366"),
        ({"days": "1e3", "scopes": ["read"]}, "a whole number from 1 to 366"),
    ],
)  # fmt: skip
def test_a_token_that_cannot_be(bed: ServiceBed, said: dict[str, str | list[str]], error: str) -> None:
    browser = member(bed)
    answer = browser.post("/me/tokens", None, label="kept", **said)
    assert (answer.status_code, error in answer.text, 'value="kept"' in answer.text) == (400, True, True)
    assert bed.ask("ada", "GET", "/tokens").json() == []


OF_ADMINISTRATORS = tuple(
    ADMINISTRATION + path
    for path in ("", "/invitations", "/invitations/0123456789ab/revoke", "/accounts/ada/limits", "/accounts/ada/role",
                 "/accounts/ada/close")
)  # fmt: skip
FORMS = ("/me/password", "/me/tokens", "/me/tokens/0123456789ab/revoke", *OF_ADMINISTRATORS)
SAID = {"name": "eve", "password": PASSWORD, "again": PASSWORD, "sure": "yes"}


@pytest.mark.parametrize("path", [*FORMS[:4], *(pytest.param(each, marks=pytest.mark.long) for each in FORMS[4:])])
def test_each_form_needs_a_session_and_its_token(bed: ServiceBed, path: str) -> None:
    browser, other = member(bed, "root"), member(bed, "root")
    before = bed.ask("root", "GET", "/audit").json()
    for csrf in ("", "x", other.csrf):
        assert (
            browser.post(path, csrf=csrf, name="eve", password=PASSWORD, again=PASSWORD, sure="yes").status_code == 403
        )
    nobody = Browser(bed)
    nobody.get("/login")
    assert nobody.post(path, **SAID).status_code == 303, "to the form to log in"
    assert bed.ask("root", "GET", "/audit").json() == before
    if path not in (ADMINISTRATION, f"{ADMINISTRATION}/invitations"):
        assert browser.get(path).status_code == 405


def test_for_people_who_are_no_administrators_there_is_no_administration(bed: ServiceBed) -> None:
    browser = member(bed)
    assert ADMINISTRATION not in browser.last.text
    assert ADMINISTRATION in member(bed, "root").last.text
    pages = ("", "/invitations", "/audit", "/accounts/ada", "/accounts/nobody")
    for path in pages:
        answer = browser.get(ADMINISTRATION + path)
        assert (answer.status_code, "There is no such page" in answer.text) == (404, True), path
    for path in OF_ADMINISTRATORS:
        assert browser.post(path, **SAID).status_code == 404, path
    assert {each.name for each in bed.gatekeeper.accounts.everyone()} == {*PASSWORDS}


def test_an_administrator_makes_limits_and_closes_accounts(bed: ServiceBed) -> None:
    browser = member(bed, "root", ADMINISTRATION)
    said = {"name": "eve", "password": PASSWORD, "again": PASSWORD}
    assert "The two differ" in browser.post(ADMINISTRATION, **said | {"again": "x"}).text
    assert "there is an account ada already" in browser.post(ADMINISTRATION, **said | {"name": "ada"}).text
    for name, password in (("eve", "short"), ("eve", "x" * 201), ("x" * 99, PASSWORD), ("../x", PASSWORD)):
        answer = browser.post(ADMINISTRATION, name=name, password=password, again=password)
        assert (answer.status_code, password in answer.text) == (400, False)
    assert browser.post(ADMINISTRATION, **said).status_code == 303
    assert "eve" in browser.follow().text
    page = f"{ADMINISTRATION}/accounts/eve"
    answer = browser.post(f"{page}/limits", running="many", waiting="", bytes="50 potatoes")
    assert "a whole number from 0 on" in answer.text
    assert "a size such as 50G" in answer.text
    assert 'value="50 potatoes"' in answer.text
    assert browser.post(f"{page}/limits", running="3", waiting="", bytes="50G").status_code == 303
    assert 'name="bytes" type="text" value="50G"' in browser.follow().text
    eve = bed.gatekeeper.accounts.by_name("eve")
    assert eve is not None
    assert (eve.most_running, eve.most_waiting, eve.most_bytes) == (3, None, 50 << 30)
    assert browser.post(f"{page}/role", role="administrator").status_code == 303
    assert bed.ask("", "GET", "/audit", auth=("eve", PASSWORD)).status_code == 200
    assert "Check the box" in browser.post(f"{page}/close").text
    theirs = Browser(bed)
    theirs.get("/login")
    theirs.post("/login", name="eve", password=PASSWORD)
    assert browser.post(f"{page}/close", sure="yes").status_code == 303
    assert theirs.get("/me").status_code == 303, "its sessions have ended"
    assert "closed" in browser.get(page).text
    for what in ("limits", "role", "close"):
        assert browser.post(f"{page}/{what}", sure="yes").status_code == 404
    assert browser.get(f"{ADMINISTRATION}/accounts/nobody").status_code == 404


def test_the_last_administrator_stays(bed: ServiceBed) -> None:
    browser = member(bed, "root", ADMINISTRATION)
    for what, said in (("role", {"role": "user"}), ("close", {"sure": "yes"})):
        answer = browser.post(f"{ADMINISTRATION}/accounts/root/{what}", **said)
        assert (answer.status_code, "root is the last administrator" in answer.text) == (400, True)


def test_who_gives_up_the_role_sees_no_administration_any_more(bed: ServiceBed) -> None:
    browser = member(bed, "root", ADMINISTRATION)
    browser.post(f"{ADMINISTRATION}/accounts/ada/role", role="administrator")
    answer = browser.post(f"{ADMINISTRATION}/accounts/root/role", role="user")
    assert answer.headers["location"].startswith("/me")
    assert browser.get(ADMINISTRATION).status_code == 404


def test_somebody_who_is_invited_makes_an_account(bed: ServiceBed) -> None:
    bed = bed.again(sign_up=SignUp.INVITATION)
    browser = member(bed, "root", f"{ADMINISTRATION}/invitations")
    assert "a whole number from 1 to 90" in browser.post(f"{ADMINISTRATION}/invitations", days="91").text
    browser.post(f"{ADMINISTRATION}/invitations", label="Eve & friends", days="3")
    address = shown(browser, "invitation")
    assert "Eve &amp; friends" in browser.last.text
    assert address.startswith("http://service/signup?invitation=invite_")
    assert address.partition("=")[2] not in browser.get(f"{ADMINISTRATION}/invitations").text
    eve = Browser(bed)
    text = eve.get(address.removeprefix("http://service")).text
    assert f'value="{address.partition("=")[2]}"' in text
    said = {"name": "eve", "password": PASSWORD, "invitation": address.partition("=")[2]}
    for change, error in (({"again": "x"}, "The two differ"), ({"again": PASSWORD, "name": "ada"}, "already"),
                          ({"again": PASSWORD, "invitation": "x"}, "unknown, was used")):  # fmt: skip
        answer = eve.post("/signup", **said | change)
        assert (answer.status_code, error in answer.text, PASSWORD in answer.text) == (400, True, False)
    assert eve.post("/signup", csrf="x", again=PASSWORD, **said).status_code == 403
    assert eve.post("/signup", again=PASSWORD, **said).status_code == 303
    assert "you are logged in" in eve.follow().text
    assert eve.get("/signup").headers["location"] == "/"
    late = Browser(bed)
    late.get("/signup")
    assert "unknown, was used" in late.post("/signup", again=PASSWORD, **said | {"name": "mallory"}).text
    bed.close()


def test_an_invitation_is_revoked(bed: ServiceBed) -> None:
    browser = member(bed, "root", f"{ADMINISTRATION}/invitations")
    assert "Sign-up is off" in browser.last.text
    browser.post(f"{ADMINISTRATION}/invitations", label="", days="3")
    (row,) = bed.service.entrance.invitations.everything()
    path = f"{ADMINISTRATION}/invitations/{row.id}/revoke"
    assert path in browser.last.text
    assert browser.post(path).status_code == 303
    assert path not in browser.follow().text
    assert browser.post(path).status_code == 404


def test_sign_up_is_there_where_it_is_on(bed: ServiceBed) -> None:
    browser = Browser(bed)
    assert "/signup" not in browser.get("/login").text
    assert browser.get("/signup").status_code == 404
    assert browser.post("/signup", name="eve", password=PASSWORD, again=PASSWORD).status_code == 404
    bed = bed.again(sign_up=SignUp.OPEN)
    browser = Browser(bed)
    assert 'href="/signup"' in browser.get("/login").text
    assert 'name="invitation"' not in browser.get("/signup").text
    assert browser.post("/signup", name="eve", password=PASSWORD, again=PASSWORD).status_code == 303
    assert COOKIE in browser.cookies
    bed.close()


def test_the_audit_log_has_pages_and_a_filter(bed: ServiceBed) -> None:
    for number in range(60):
        bed.gatekeeper.accounts.limit("ada" if number % 2 else "bob", {"running": number}, "root")
    browser = member(bed, "root", f"{ADMINISTRATION}/audit")
    assert browser.last.text.count("<tr>") == 51
    older = re.search(r'href="([^"]*before=[^"]*)"', browser.last.text)
    assert older is not None
    second = browser.get(older[1].replace("&amp;", "&")).text
    assert second.count("<tr>") == 1 + 60 + len(PASSWORDS) + 1 - 50, "also the log-in of who looks"
    assert "before=" not in second
    named = browser.get(f"{ADMINISTRATION}/audit", params={"account": "operator", "action": "account-add"}).text
    assert named.count("<tr>") == 1 + len(PASSWORDS)
    assert '<option value="account-add" selected>' in named
    odd = browser.get(f"{ADMINISTRATION}/audit", params={"account": "\"><b>'"})
    assert (odd.status_code, "There is nothing of that" in odd.text, "<b>'" in odd.text) == (200, True, False)
    for query in ("before=-1", f"before={'9' * 30}", "account=" + "x" * 65):
        assert browser.get(f"{ADMINISTRATION}/audit?{query}").status_code == 400
    said = bed.ask("root", "GET", "/audit", params={"account": "root", "action": "account-limit"}).json()
    assert len(said) == 60


@pytest.mark.parametrize(
    ("text", "found"),
    [("", None), ("0", 0), ("50G", 50 << 30), ("50 gib", 50 << 30), ("7", 7), ("1T", 1 << 40)],
)  # fmt: skip
def test_sizes_as_people_type_them(text: str, found: int | None) -> None:
    assert size(text) == found
    assert size(typed(found)) == found


@pytest.mark.parametrize("text", ["G", "-1", "1.5G", "9999999T", "1P", "1e9", "\u0664"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="such as 50G"):
        size(text)
    with pytest.raises(ValueError, match="whole number"):
        whole(text)
