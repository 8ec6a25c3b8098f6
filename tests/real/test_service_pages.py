"""The pages in a real browser, with and without JavaScript: two people at the service, and real builds behind it."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.real.conftest import Project
from tests.support.chromium import LACKING, Person, browsing
from tests.support.serviceprocess import Service, services

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

FIRST, SECOND = "correct horse battery", "another battery staple"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as made:
        yield made


@pytest.mark.parametrize("scripts", [True, False], ids=["JavaScript", "without"])
def test_two_people_at_the_service(project: Project, browser: Browser, scripts: bool) -> None:
    project.environment["DIB_TINY_LINGER"] = "4"
    with services(project) as start:
        service = start("127.0.0.1:0", "--sign-up", "open")
        eve, kim = (Person(browser, service.address, scripts=scripts) for _ in range(2))
        sign_up(eve, "eve")
        sign_up(kim, "kim")

        request = new_request(eve)
        follow(eve, service, request, scripts)
        name = download(eve, project)
        for path in (f"/requests/{request}", f"/requests/{request}/log", f"/requests/{request}/live",
                     f"/build/{request}", f"/build/{request}/log", f"/images/download/{name}"):  # fmt: skip
            assert (eve.status(path), kim.status(path)) == (200, 404), path
        for path in ("/requests", "/available"):
            kim.page.goto(path)
            assert "cc-tiny" not in kim.page.locator("main").inner_text().lower()
        page = f"/available/cc-tiny/amd64/{name.removeprefix('CC-Tiny-').partition('.')[0]}"
        assert (eve.status(page), kim.status(page)) == (200, 404)

        tokens(eve, service)
        password(eve)
        remove(eve, request)
        assert eve.status(f"/images/download/{name}") == 404, "it was removed from her list"
        for person in (eve, kim):
            others = [each for each in person.asked if not each.startswith(service.address + "/")]
            assert others == [], "nothing is asked for from anywhere else"
            assert person.complaints == [], "no policy is broken, no script fails"
        service.end()


def sign_up(person: Person, name: str) -> None:
    """Begin where nobody is logged in, and make an account."""
    page = person.page
    page.goto("/")
    assert "/login" in page.url
    person.go("Sign up")
    person.write(name=name, password=FIRST, again=SECOND)
    person.press("Make the account")
    person.see("The two differ.")
    person.write(password=FIRST, again=FIRST)
    person.press("Make the account")
    person.see("The account is made, and you are logged in.")
    cookie = next(each for each in page.context.cookies() if each["name"] == "cc_images_session")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")


def new_request(person: Person) -> str:
    """Look at what a request would do, and make it; return its id."""
    page = person.page
    person.go("New request")
    page.locator("input[name=images][value=cc-tiny]").check()
    person.press("Show what it would do")
    person.see("build cc-tiny amd64")
    assert page.locator("input[name=images][value=cc-tiny]").is_checked(), "the form is as it was"
    person.press("Start build")
    person.see("It is requested.")
    found = re.search(r"/requests/([0-9a-f]{32})", page.url)
    assert found is not None
    return found[1]


def follow(person: Person, service: Service, request: str, scripts: bool) -> None:
    """See a request begin, and its log grow to its end: by itself, or by loading the page again."""
    page = person.page
    page.goto(f"/requests/{request}")
    loads = count_of(person, f"/requests/{request}")
    seen(person, ".heading .badge", "building|converting|finished", scripts)
    assert not scripts or count_of(person, f"/requests/{request}") == loads, "the page has changed by itself"
    person.go("Log")
    loads = count_of(person, f"/requests/{request}/log")
    seen(person, "#log", r"\[build cc-tiny amd64\]", scripts)
    if scripts:
        person.press("Pause")
        page.get_by_role("button", name=re.compile("^Go on")).click()
    seen(person, ".heading .badge", "finished", scripts)
    assert not scripts or count_of(person, f"/requests/{request}/log") == loads, "the log has grown by itself"
    shown = page.locator("#log").inner_text()
    whole = page.request.get(f"/build/{request}/log").text()
    assert shown.split() == whole.split(), "nothing is missing, and nothing there twice"
    person.write(q="convert cc-tiny")
    person.press("Search")
    person.see("with “convert cc-tiny”")
    assert "convert cc-tiny" in page.locator(".found").inner_text()


def seen(person: Person, place: str, pattern: str, scripts: bool) -> None:
    """Wait until a place has a text; without JavaScript the page is loaded again and again."""
    deadline = time.monotonic() + 120
    while not re.search(pattern, person.page.locator(place).first.inner_text()):
        assert time.monotonic() < deadline, f"{place}: {person.page.locator(place).first.inner_text()[-500:]}"
        if scripts:
            person.page.wait_for_timeout(100)
        else:
            time.sleep(0.3)
            person.page.reload()


def count_of(person: Person, path: str) -> int:
    return sum(httpx.URL(each).path == path for each in person.asked)


def download(person: Person, project: Project) -> str:
    """Download the image by its link, and compare it with its record; return the file's name."""
    page = person.page
    person.go("Images")
    with page.expect_download() as coming:
        page.get_by_role("link", name="qcow2", exact=True).click()
    name = coming.value.suggested_filename
    path = Path(coming.value.path())
    version = name.removeprefix("CC-Tiny-").partition(".")[0]
    record = json.loads((project.store / "builds/cc-tiny/amd64" / f"{version}.json").read_text())
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == record["outputs"]["qcow2"]["digest"]
    return name


def tokens(person: Person, service: Service) -> None:
    """Make a token, which is shown once and works, and revoke it."""
    page = person.page
    person.go("eve")
    person.write(label="my <b>laptop</b>")
    page.locator("input[name=scopes][value=read]").check()
    person.press("Make a token")
    token = page.locator("#token").inner_text().strip()
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{service.address}/account", headers=headers).json()["scopes"] == ["read"]
    person.go("eve")
    assert token not in page.content()
    assert "my <b>laptop</b>" in page.locator("main").inner_text(), "as it was written"
    person.press("Revoke")
    person.see("It is revoked.")
    assert httpx.get(f"{service.address}/account", headers=headers).status_code == 401


def password(person: Person) -> None:
    """Change the password, and log in with it."""
    page = person.page
    before = next(each["value"] for each in page.context.cookies() if each["name"] == "cc_images_session")
    person.write(old=SECOND, new=SECOND, again=SECOND)
    person.press("Change password")
    person.see("That is not the password.")
    person.write(old=FIRST, new=SECOND, again=SECOND)
    person.press("Change password")
    person.see("The password is changed. All other sessions have ended.")
    after = next(each["value"] for each in page.context.cookies() if each["name"] == "cc_images_session")
    assert before != after
    person.press("Log out")
    person.see("You are logged out.")
    page.goto("/requests")
    person.write(name="eve", password=FIRST)
    person.press("Log in")
    person.see("Name and password do not fit.")
    person.write(password=SECOND)
    person.press("Log in")
    page.wait_for_url("**/requests")


def remove(person: Person, request: str) -> None:
    """Remove the request from the list."""
    page = person.page
    page.goto("/requests")
    page.locator(f"form[action='/requests/{request}/withdraw'] button").click()
    person.see("It is removed from the list.")
    assert request not in page.content()
    assert person.status(f"/requests/{request}") == 404
