"""Pages: who gets in, what forms must have, and what browsers are told."""

from __future__ import annotations

import re

import pytest

from cc_images.web.pages.forms import local
from cc_images.web.sessions import COOKIE, csrf_token
from tests.support.browser import Browser
from tests.support.servicebed import PASSWORDS, ServiceBed


def test_who_is_not_logged_in_is_led_to_the_form_and_back(bed: ServiceBed) -> None:
    browser = Browser(bed)
    answer = browser.get("/?everyone=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2F%3Feveryone%3D1")
    form = browser.get("/login?next=%2F%3Feveryone%3D1")
    assert 'name="next" value="/?everyone=1"' in form.text
    done = browser.post("/login", name="ada", password=PASSWORDS["ada"], next="/?everyone=1")
    assert (done.status_code, done.headers["location"]) == (303, "/?everyone=1")
    assert browser.get("/").status_code == 200
    assert browser.get("/login").headers["location"] == "/"


@pytest.mark.parametrize(
    "text", ["//evil", "/\\evil", "https://evil", "evil", "", "/a\nb", "javascript:alert(1)", "/ä"]
)
def test_no_form_leads_away_from_here(bed: ServiceBed, text: str) -> None:
    assert local(text) == "/"
    browser = Browser(bed)
    browser.get("/login", params={"next": text})
    assert browser.post("/login", name="ada", password=PASSWORDS["ada"], next=text).headers["location"] == "/"


def test_a_form_to_log_in_needs_the_token_of_its_cookie(bed: ServiceBed) -> None:
    said = {"name": "ada", "password": PASSWORDS["ada"]}
    fresh = Browser(bed)
    assert fresh.post("/login", csrf="", **said).status_code == 403, "no cookie"
    fresh.get("/login")
    other = Browser(bed)
    other.get("/login")
    for wrong in ("", "x", other.csrf, "ä"):
        assert fresh.post("/login", csrf=wrong, **said).status_code == 403
    assert fresh.post("/login", csrf=csrf_token(""), **said).status_code == 403
    assert COOKIE not in fresh.cookies
    assert fresh.post("/login", **said).status_code == 303


def test_each_log_in_makes_a_session_of_its_own(bed: ServiceBed) -> None:
    browser = Browser(bed)
    browser.cookies[COOKIE] = "chosen by somebody else"
    browser.log_in("ada")
    first = browser.cookies[COOKIE]
    assert first != "chosen by somebody else"
    cookie = browser.last.headers.get_list("set-cookie")
    ours = next(each for each in cookie if each.startswith(f"{COOKIE}={first}"))
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {each.strip() for each in ours.split(";")}
    assert browser.post("/logout").status_code == 303
    browser.cookies[COOKIE] = first
    assert browser.get("/").status_code == 303, "it is over, whoever has kept its id"


def test_the_audit_log_has_who_logs_in_and_whence(bed: ServiceBed) -> None:
    Browser(bed).log_in("ada")
    rows = bed.ask("root", "GET", "/audit?action=log-in").json()
    assert [(each["account"], each["address"]) for each in rows] == [("ada", "127.0.0.1")]


def test_a_cookie_behind_tls_is_for_tls_alone(bed: ServiceBed) -> None:
    browser = Browser(bed, "https://service")
    browser.log_in("ada")
    assert all("Secure" in each for each in browser.last.headers.get_list("set-cookie") if each.startswith(COOKIE))


def test_a_wrong_password_is_told_without_saying_who_exists(bed: ServiceBed) -> None:
    said = set()
    for name in ("ada", "nobody"):
        browser = Browser(bed)
        browser.get("/login")
        answer = browser.post("/login", name=name, password="wrong")
        assert answer.status_code == 400
        said.add(re.sub(r'value="[^"]*"', "", answer.text))
    assert len(said) == 1


def test_guessing_gets_a_page_that_says_when_to_come_back(bed: ServiceBed) -> None:
    bed = bed.again(tries=2)
    browser = Browser(bed)
    browser.get("/login")
    found = [browser.post("/login", name="ada", password=f"guess {n}").status_code for n in range(3)]
    assert found == [400, 400, 429]
    assert "Too often" in browser.last.text
    assert int(browser.last.headers["retry-after"]) >= 1
    bed.close()


def test_logging_out_needs_the_token(bed: ServiceBed) -> None:
    browser = Browser(bed)
    browser.log_in("ada")
    assert browser.post("/logout", csrf="x").status_code == 403
    assert browser.get("/").status_code == 200
    assert browser.get("/logout").status_code == 405


def test_what_is_typed_is_text_on_the_page(bed: ServiceBed) -> None:
    browser = Browser(bed)
    browser.get("/login")
    odd = "\"><script>alert(1)</script>{{7*7}}'"
    answer = browser.post("/login", name=odd, password="wrong", next="/" + odd)
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "49" not in re.sub(r'value="[0-9a-f]{64}"|v=\w+', "", answer.text)


def test_browsers_get_pages_for_errors_and_programs_json(bed: ServiceBed) -> None:
    browser = Browser(bed)
    browser.log_in("ada")
    page = browser.get("/nothing")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page" in page.text
    assert bed.ask("ada", "GET", "/nothing").json()["message"]
    assert browser.get("/api/v1/nothing").json()["message"]
    stranger = Browser(bed)
    assert stranger.get("/images/download/x").headers["location"] == "/login?next=%2Fimages%2Fdownload%2Fx"
    assert stranger.get("/api/v1/builds").status_code == 401
    assert stranger.post("/build", csrf="x").status_code in (400, 401)


def test_pages_load_nothing_from_elsewhere_and_nothing_stands_in_them(bed: ServiceBed) -> None:
    browser = Browser(bed)
    for answer in (browser.get("/login"), browser.get("/nothing")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|<script(?! src)|\son\w+=|\sstyle=", answer.text)
    assert bed.ask("", "GET", "/health").headers["content-security-policy"].startswith("default-src 'none'; frame")


def test_files_of_pages_are_kept_by_their_digest(bed: ServiceBed) -> None:
    page = Browser(bed).get("/login").text
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert {each.split("?")[0] for each in found} == {"/static/icon.svg", "/static/style.css", "/static/live.js"}
    for address in found:
        answer = bed.ask("", "GET", address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert bed.ask("", "GET", address.split("?")[0]).headers["cache-control"] == "no-cache"
        known = {"if-none-match": answer.headers["etag"]}
        assert bed.ask("", "GET", address, headers=known).status_code == 304
    for name in ("nothing.css", "..%2flayout.py", "../layout.py"):
        assert bed.ask("", "GET", f"/static/{name}").status_code == 404


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_change_nothing(bed: ServiceBed, site: str) -> None:
    for path in ("/login", "/logout", "/build", "/images/x/push"):
        assert bed.ask("ada", "POST", path, headers={"sec-fetch-site": site}).status_code == 403
    assert bed.ask("ada", "POST", "/build", json={"images": ["cc-one"]},
                   headers={"sec-fetch-site": "same-origin"}).status_code == 200  # fmt: skip


@pytest.mark.parametrize("content", [b"\xff", b"csrf=%ff", b"&".join([b"a=b"] * 1001)])
def test_odd_forms_are_mistakes_of_the_caller(bed: ServiceBed, content: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert bed.ask("", "POST", "/login", content=content, headers=headers).status_code == 400
    assert bed.ask("", "POST", "/login", json={"csrf": "x"}).status_code == 400
