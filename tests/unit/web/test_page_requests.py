"""Pages of requests: the form with its errors and its plan, the list, one request, and what goes on live."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator

import pytest

from cc_images.config.loader import Config
from cc_images.model.catalog import Format
from cc_images.web.kinds import KINDS, checked
from cc_images.web.pages import request_forms
from cc_images.web.pages.forms import Form
from cc_images.web.pages.live import event
from cc_images.web.pages.planning import REQUESTS, Planner
from tests.support.browser import Browser
from tests.support.servicebed import ServiceBed
from tests.unit.web.test_interface import FILE, RUN, finished, forget

ODD = "<script>alert(1)</script>"


@pytest.fixture
def ada(bed: ServiceBed) -> Browser:
    return logged_in(bed, "ada")


def logged_in(bed: ServiceBed, who: str) -> Browser:
    browser = Browser(bed)
    browser.log_in(who)
    return browser


PAGES = ("/", "/new", "/requests", "/requests?everyone=true", "/available")


@pytest.mark.parametrize("path", [*PAGES, "/live", "/requests/live", "/requests/x", "/requests/x/live",
                                  "/requests/x/log", "/available/a/amd64/1"])  # fmt: skip
def test_every_page_is_for_accounts(bed: ServiceBed, path: str) -> None:
    answer = Browser(bed).get(path)
    assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/login")
    assert bed.ask("ada", "GET", path).status_code == 303, "pages know sessions alone"


FORMS = ("/new", "/requests/x/withdraw", "/available/x/push", "/logout")


@pytest.mark.parametrize("path", FORMS)
def test_every_form_needs_a_session_and_its_token(bed: ServiceBed, path: str) -> None:
    assert Browser(bed).post(path, csrf="").status_code in (303, 403)
    browser, other = logged_in(bed, "ada"), logged_in(bed, "bob")
    for wrong in ("", "0" * 64, other.csrf):
        assert browser.post(path, csrf=wrong, images="cc-one").status_code == 403
    assert browser.get(path).status_code in (200, 404, 405)
    assert bed.ask("ada", "GET", "/builds").json() == []


def test_a_request_is_made_and_seen_by_who_made_it(bed: ServiceBed, ada: Browser) -> None:
    ada.get("/new")
    ada.post("/new", images=["cc-one", "cc-two"], architectures="amd64", force="on", build="yes")
    page = ada.follow()
    assert page.status_code == 200
    assert "It is requested." in page.text
    build = re.search(r"/requests/([0-9a-f]{32})/log", page.text)
    assert build
    said = bed.ask("ada", "GET", f"/build/{build[1]}").json()["request"]
    assert said == {"images": ["cc-one", "cc-two"], "architectures": ["amd64"], "push": False, "force": True}
    assert "cc-one, cc-two" in ada.get("/requests").text
    assert f"/requests/{build[1]}" in ada.get("/").text
    bob = logged_in(bed, "bob")
    for path in ("", "/live", "/log", "/log?task=build"):
        assert bob.get(f"/requests/{build[1]}{path}").status_code == 404, path
        assert bob.get(f"/requests/{'0' * 32}{path}").text == bob.get(f"/requests/{build[1]}{path}").text
    assert bob.post(f"/requests/{build[1]}/withdraw").status_code == 404
    assert build[1] not in bob.get("/requests?everyone=true").text + bob.get("/").text
    assert "ada" in logged_in(bed, "root").get("/requests?everyone=true").text
    ada.get("/new")
    ada.post("/new", images=["cc-one", "cc-two"], architectures="amd64", force="on")
    assert "The same was requested already" in ada.follow().text


WRONG = [
    ({}, "images"),
    ({"images": ODD}, "images"),
    ({"images": ["cc-one", "cc-base"]}, "images"),
    ({"images": "cc-one", "architectures": "vax"}, "architectures"),
    ({"images": "cc-one", "architectures": "arm64"}, "architectures"),
]


@pytest.mark.parametrize(("fields", "place"), WRONG, ids=str)
def test_an_error_stands_beside_its_field(
    bed: ServiceBed, ada: Browser, fields: dict[str, str | list[str]], place: str
) -> None:
    ada.get("/new")
    answer = ada.post("/new", None, **fields)
    assert answer.status_code == 400
    assert f'aria-describedby="{place}-said"' in answer.text
    assert f'<p class="error" id="{place}-said">' in answer.text
    assert ODD not in answer.text
    if "cc-one" in fields.get("images", ""):
        assert 'value="cc-one" checked' in answer.text, "what was chosen stays"
    assert bed.ask("ada", "GET", "/builds").json() == []


def test_the_form_can_be_filled_in_by_its_address_and_changes_nothing(bed: ServiceBed, ada: Browser) -> None:
    page = ada.get("/new?images=cc-two&force=on&kind=nothing&build=yes").text
    assert 'value="cc-two" checked' in page
    assert 'name="force" value="on" checked' in page
    assert 'value="cc-one">' in page
    assert bed.ask("ada", "GET", "/builds").json() == []


def test_a_plan_is_shown_and_nothing_is_requested(bed: ServiceBed, ada: Browser) -> None:
    ada.get("/new")
    answer = ada.post("/new", images="cc-one", plan="yes")
    assert answer.status_code == 200
    assert "What it would do" in answer.text
    assert 'value="cc-one" checked' in answer.text
    assert "build cc-one amd64" in answer.text, re.findall("There is no plan: [^<]*", answer.text)
    assert bed.ask("ada", "GET", "/builds").json() == []
    assert bed.runs.launches == []


def test_a_plan_that_takes_too_long_is_given_up(bed: ServiceBed) -> None:
    config: Config = bed.service.catalogue.config
    value, let = checked({"images": ["cc-one"]}, config), threading.Event()

    class Slow(dict[str, object]):
        def __getitem__(self, name: str) -> str:
            let.wait(10)
            raise KeyError(name)

    slow = type(value)(kind=value.kind, content=Slow())
    planner = Planner(seconds=0.2)
    began = time.monotonic()
    assert "takes more than" in str(planner.planned(slow, config, 1))
    assert time.monotonic() - began < 5
    assert "takes more than" in str(planner.planned(slow, config, 2))
    assert "others are looking" in str(planner.planned(slow, config, 3))
    let.set()


def test_each_form_makes_a_request_of_its_kind(bed: ServiceBed) -> None:
    assert {*request_forms.FORMS} & {*KINDS} >= {"images"}
    for name in {*request_forms.FORMS} & {*KINDS}:
        assert name in REQUESTS, "it can be planned"
    form = Form((("workflow", " a "), ("machine.platform", "linux/amd64"), ("machine.mpi", ""), ("push", "on")))
    made = request_forms.body("machine", form)
    machine = {"platform": "linux/amd64", "architecture": "", "container_engine": ""}
    assert made == {"workflow": "a", "step_id": "", "machine": machine, "push": True, "force": False}
    named = Form((*form.fields, ("machine", "big")))
    assert request_forms.body("machine", named)["machine"] == "big", "described or named, not both"
    assert request_forms.beside("machine", "machine.mpi.version") == "machine.mpi"
    assert request_forms.beside("machine", "machine") == "machine"
    assert request_forms.beside("machine", "nothing.at.all") == ""
    assert request_forms.beside("images", "images.3") == "images"


def test_a_request_goes_on_is_over_and_is_removed(bed: ServiceBed, ada: Browser) -> None:
    build = bed.request("ada", "cc-one")
    assert "place in the queue" in ada.get(f"/requests/{build}").text
    bed.look()
    bed.plan(build, RUN, {"event": "started", "task": f"build cc-one amd64 {ODD}"})
    bed.look()
    page = ada.get(f"/requests/{build}").text
    assert 'class="badge building"' in page
    assert "/log?task=build%20cc-one%20amd64%20%3Cscript" in page
    assert ODD not in page
    assert f'data-live="/requests/{build}/live"' in page
    bed.finish(build, RUN)
    page = ada.get(f"/requests/{build}").text
    assert 'class="badge finished"' in page
    assert "data-live" not in page
    assert f"/available/cc-one/amd64/{RUN}" in page
    ada.post(f"/requests/{build}/withdraw", next="//evil")
    assert ada.last.headers["location"] == "/?notice=removed"
    assert build not in ada.get("/requests").text


def test_a_request_is_cancelled_by_its_form_alone(bed: ServiceBed, ada: Browser) -> None:
    build = bed.request("ada", "cc-one")
    page = ada.get(f"/requests/{build}").text
    assert f'action="/requests/{build}/withdraw"' in page
    assert ada.get(f"/requests/{build}/withdraw").status_code == 405
    ada.get(f"/requests/{build}")
    ada.post(f"/requests/{build}/withdraw", next=f"/requests/{build}")
    assert "It is cancelled." in ada.follow().text
    assert bed.status("ada", build) == "CANCELLED"


def test_a_failure_shows_its_reason_and_the_end_of_the_log_as_text(bed: ServiceBed, ada: Browser) -> None:
    build = bed.request("ada", "cc-one")
    bed.look()
    (bed.of(build) / "log").write_text(f"first\n{ODD}\x1b[31m\nE: <b>no space</b>\n")
    bed.runs.note(bed.of(build), state="failed", message=f"{ODD} failed", exit_code=3)
    bed.runs.die(bed.of(build))
    bed.plan(build, RUN)
    bed.look()
    assert bed.status("ada", build) == "FAILED"
    for path in (f"/requests/{build}", "/requests", "/", f"/requests/{build}/log", f"/requests/{build}/log?q=alert"):
        page = ada.get(path).text
        assert ODD not in page, path
        assert "&lt;script&gt;" in page, path
    assert "&lt;b&gt;no space&lt;/b&gt;" in ada.get(f"/requests/{build}").text
    assert "\x1b" not in ada.get(f"/requests/{build}/log").text


def test_an_administrator_cannot_remove_what_is_over_for_others(bed: ServiceBed) -> None:
    build = finished(bed)
    root = logged_in(bed, "root")
    page = root.get(f"/requests/{build}").text
    assert "/withdraw" not in page
    assert "/withdraw" not in root.get("/requests?everyone=true").text


def test_older_requests_are_on_further_pages(bed: ServiceBed, ada: Browser) -> None:
    for number in range(31):
        build = bed.request("ada", "cc-one", force=bool(number % 2))
        bed.ask("ada", "DELETE", f"/build/{build}")
        bed.look()
    first = ada.get("/requests").text
    assert first.count("<tr>") == 31, "30 and the heading"
    older = re.search(r'href="(/requests\?before=\d+)"', first)
    assert older
    assert ada.get(older[1]).text.count("<tr>") == 2
    assert ada.get("/requests?before=1").text.count("There is nothing older.") == 1
    assert ada.get("/requests?before=x").status_code == 400


def events(text: str) -> Iterator[tuple[str, str]]:
    """Yield the events of a stream: kind and content."""
    for block in text.split("\n\n"):
        lines = [line.partition(": ")[::2] for line in block.splitlines()]
        if any(name == "data" for name, _ in lines):
            kind = next((said for name, said in lines if name == "event"), "message")
            yield kind, "\n".join(said for name, said in lines if name == "data")


def test_a_page_is_sent_again_when_it_changes_until_it_is_final(bed: ServiceBed, ada: Browser) -> None:
    build = bed.request("ada", "cc-one")
    bed.look()
    bed.plan(build, RUN, {"event": "started", "task": "build cc-one amd64"})
    bed.look()
    timer = threading.Timer(1.3, lambda: bed.finish(build, RUN))
    timer.start()
    answer = ada.get(f"/requests/{build}/live")
    timer.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = list(events(answer.text))
    assert [kind for kind, _ in found][-1] == "end"
    assert 'class="badge building"' in found[0][1]
    assert 'class="badge finished"' in found[-2][1]
    assert found[0][1].strip() in ada.get(f"/requests/{build}").text or len(found) > 2


def test_a_live_page_ends_with_the_session_and_with_the_service(bed: ServiceBed, ada: Browser) -> None:
    threading.Timer(0.5, lambda: bed.ask("ada", "POST", "/account/password", json={
        "old": "correct horse battery", "new": "another long one"})).start()  # fmt: skip
    assert "event: end" not in ada.get("/live").text
    bob = logged_in(bed, "bob")
    threading.Timer(0.5, bed.service.draining.set).start()
    assert "event: end" not in bob.get("/requests/live").text


def test_an_event_has_all_lines_of_a_text() -> None:
    assert event("a\n\nb\r\nc") == b"data: a\ndata: \ndata: b\ndata: c\n\n"


def test_the_home_page_shows_builders_without_what_others_do(bed: ServiceBed, ada: Browser) -> None:
    build = bed.request("bob", "cc-two")
    page = ada.get("/").text
    assert build not in page
    assert "cc-two" not in page
    assert "<strong>here</strong>" in page or "They have not answered yet." in page
    assert build in logged_in(bed, "root").get("/").text


def test_requests_of_one_image_can_be_told_from_each_other(bed: ServiceBed, ada: Browser) -> None:
    finished(bed)
    bed.request("ada", "cc-two", architectures=["arm64"], force=True)
    bed.request("ada", "cc-two", push=True)
    bed.ask("ada", "POST", f"/images/{FILE}/push")
    wanted = ["amd64", "all architectures · publishes", "arm64 · by force", f"all architectures · version {RUN}"]
    assert re.findall(r'<p class="detail">([^<]*)</p>', ada.get("/requests").text) == wanted
    assert {*re.findall(r'<p class="detail">([^<]*)</p>', ada.get("/").text)} == {*wanted}
    root = logged_in(bed, "root")
    assert root.get("/").text.count("· ada<") == 4, "each with who has requested it"


def test_images_are_shown_to_whose_build_made_them(bed: ServiceBed, ada: Browser) -> None:
    finished(bed)
    path = f"/available/cc-one/amd64/{RUN}"
    for page in (ada.get("/available").text, ada.get(path).text):
        assert f"/images/download/{FILE}" in page
    digest = bed.ask("ada", "GET", "/images").json()[0]["sha256"]
    assert digest in ada.last.text
    assert f"curl -f -u ada -C - -O http://service/images/download/{FILE}" in ada.last.text
    assert "pull" not in ada.last.text.replace("pull-", ""), "it is in no registry"
    bob = logged_in(bed, "bob")
    assert FILE not in bob.get("/available").text
    assert bob.get(path).status_code == 404
    assert bob.post(f"/available/{FILE}/push").status_code == 404
    ada.get(path)
    ada.post(f"/available/{FILE}/push")
    assert "Publish cc-one" in ada.follow().text
    for wrong in ("/available/cc-one/amd64/x", "/available/cc-one/vax/1", "/available/x/amd64/1"):
        assert ada.get(wrong).status_code == 404


def test_the_button_of_a_page_that_was_open_when_its_version_was_replaced_says_so(
    bed: ServiceBed, ada: Browser
) -> None:
    finished(bed)
    assert "Publish on the sites" in ada.get(f"/available/cc-one/amd64/{RUN}").text
    forget(bed, RUN)
    answer = ada.post(f"/available/{FILE}/push")
    assert answer.status_code == 409
    assert "It has changed meanwhile" in answer.text
    assert f"{RUN} of cc-one for amd64 is no longer in the store: a build by force has replaced it" in answer.text


def test_an_image_says_what_changed_what_is_in_it_and_where_it_is(bed: ServiceBed) -> None:
    for version, packages in (("20261120T000000Z", {"bash": "1", "gone": "1"}), (RUN, {"bash": "2", ODD: "1"})):
        bed.stored(version.encode(), version)
        path = next((bed.store.root / "builds").rglob(f"{version}.json")).with_suffix(".more")
        path.write_text(json.dumps({"format": 1, "packages": packages}))
    put = {"site": "hub", "name": "cc-one", "tag": "cc-one", "arch": "amd64", "version": RUN, "since": 0.0, "seen": 0.0,
           "place": "", "format": "oci"}  # fmt: skip
    (bed.store.root / "published.json").write_text(
        json.dumps({"format": 1, "published": [put, put | {"format": "sif"}, put | {"site": "gone"}]})
    )
    (bed.folder / "sites.yaml").write_text("local: {directory: site}\nhub: {registry: registry.example/team}\n")
    page = logged_in(bed, "root").get(f"/available/cc-one/amd64/{RUN}").text
    assert "What changed since 20261120T000000Z" in page
    assert "gone 1" in page
    assert "<code>bash 1 → 2</code>" in page
    assert ODD not in page
    assert "All 2 packages" in page
    assert f"podman pull registry.example/team/cc-one:{RUN}" in page
    assert f"apptainer pull docker://registry.example/team/cc-one:{RUN}" in page
    assert "hub as cc-one (oci)" in page
    assert "hub as cc-one (sif)" in page
    page = logged_in(bed, "root").get("/available").text
    assert page.count("on hub") == 1, "one place, though two files are there"


def test_an_image_that_the_catalogue_does_not_have_is_not_offered_for_publishing(bed: ServiceBed) -> None:
    root = logged_in(bed, "root")
    for tag, offered in (("cc-one", True), ("flow_one_haswell_nompi_nogpu", False)):
        bed.stored(b"layers", RUN, tag, tag, Format.OCI)
        assert ("Publish on the sites" in root.get(f"/available/{tag}/amd64/{RUN}").text) is offered


def test_a_container_says_how_it_is_used_once_it_is_there(bed: ServiceBed) -> None:
    bed.stored(b"layers", RUN, "cc-two", "CC-Two", Format.OCI, Format.SIF)
    page = logged_in(bed, "root").get(f"/available/cc-two/amd64/{RUN}").text
    assert f"podman load -i CC-Two-{RUN}.oci.tar" in page
    assert f"apptainer run CC-Two-{RUN}.sif" in page
    assert page.count("/images/download/") == 4, "each file as a link and as a line"


def test_a_host_name_of_a_caller_is_no_part_of_a_line_for_a_shell(bed: ServiceBed, ada: Browser) -> None:
    finished(bed)
    page = ada.get(f"/available/cc-one/amd64/{RUN}", headers={"host": "a;id"}).text
    assert "a;id" not in page
    assert "https://SERVICE/images/download/" in page
