"""Pages of logs: their end, earlier parts, the search, and where following begins."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cc_images.store.workspace import log_path
from cc_images.web.pages import log_text
from tests.support.browser import Browser
from tests.support.servicebed import ServiceBed
from tests.unit.web.test_interface import RUN, finished


@pytest.fixture
def ada(bed: ServiceBed) -> Browser:
    browser = Browser(bed)
    browser.log_in("ada")
    return browser


def test_a_log_follows_from_where_the_page_ends(bed: ServiceBed, ada: Browser) -> None:
    build = bed.request("ada", "cc-one")
    bed.look()
    (bed.of(build) / "log").write_bytes("erste Zeile ä\nzweite\nhalf a li".encode())
    page = ada.get(f"/requests/{build}/log").text
    assert "erste Zeile ä\nzweite\n</pre>" in page, "whole lines"
    follow = re.search(r'data-follow="([^"]+)"', page)
    assert follow
    parts = urlsplit(follow[1].replace("&amp;", "&"))
    assert parts.path == f"/build/{build}/log"
    assert parse_qs(parts.query) == {"follow": ["true"], "offset": [str(len("erste Zeile ä\nzweite\n".encode()))]}
    (bed.of(build) / "log").write_bytes("erste Zeile ä\nzweite\nhalf a line\n".encode())
    bed.plan(build, RUN)
    bed.finish(build, RUN)
    live = ada.get(follow[1].replace("&amp;", "&"), headers={"accept": "text/event-stream"}).text
    assert "data: half a line\n" in live
    assert "zweite" not in live
    page = ada.get(f"/requests/{build}/log").text
    assert "half a line" in page
    assert "data-follow" not in page
    assert f'href="/build/{build}/log" download' in page


def test_the_logs_of_tasks_are_pages_too(bed: ServiceBed, ada: Browser) -> None:
    build = finished(bed)
    logs = bed.store.root / "logs" / RUN
    logs.mkdir(parents=True)
    log_path(logs, "build cc-one amd64").write_text("what dib says\n")
    page = ada.get(f"/requests/{build}/log", params={"task": "build cc-one amd64"})
    assert "what dib says" in page.text
    assert 'aria-current="page">build cc-one amd64' in page.text
    for task in ("../run", "nothing", "/etc/passwd"):
        assert ada.get(f"/requests/{build}/log", params={"task": task}).status_code == 404


def test_a_search_shows_the_lines_with_their_numbers(bed: ServiceBed, ada: Browser) -> None:
    build = finished(bed, log=b"one\nTwo <b>\nthree\ntwo again\n")
    page = ada.get(f"/requests/{build}/log", params={"q": "two"}).text
    assert "2 lines with" in page
    assert "<b>2</b><span>Two &lt;b&gt;</span>" in page
    assert "<b>4</b><span>two again</span>" in page
    assert "0 lines with" in ada.get(f"/requests/{build}/log", params={"q": "<i>"}).text
    assert "<i>" not in ada.last.text
    assert ada.get(f"/requests/{build}/log", params={"q": "x" * 999}).status_code == 400


def test_a_long_log_is_shown_in_parts_that_have_every_line_once(tmp_path: Path) -> None:
    lines = [f"line {number} {'x' * (number % 90)}\n" for number in range(12_000)]
    path = tmp_path / "log"
    path.write_text("".join(lines))
    found, end = "", 0
    for _ in range(20):
        part = log_text.part(path, end)
        assert len(part.text) <= log_text.SHOWN
        found, end = part.text + found, part.start
        if not end:
            break
    assert found == "".join(lines)
    assert log_text.search(path, "line 11999 ").lines[0][0] == 12_000
    many = log_text.search(path, "LINE")
    assert (len(many.lines), many.more) == (log_text.FOUND, True)


def test_a_line_longer_than_a_page_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (2 * log_text.SHOWN))
    part = log_text.part(path)
    assert 0 < part.start < part.end == part.size
    assert part.text
    assert log_text.part(tmp_path / "nothing") == log_text.Part()
    path.write_bytes(b"no end yet")
    assert log_text.part(path, whole=False).text == ""
