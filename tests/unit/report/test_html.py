"""The page of a run: everything that the journal tells, escaped, and nothing from anywhere else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from cc_images.model.catalog import Json
from cc_images.report import html, text

EVIL = "<script>alert('x')</script>"


def result(task: str, **more: object) -> Json:
    found: Json = {
        "task": task, "status": "done", "error": "", "hint": "", "tail": [], "log": "", "seconds": 10.0, "started": 0.0,
        "where": "", "timings": {"install.d/10-x": 4.2},
    }  # fmt: skip
    return found | more


def task(name: str, resource: str) -> Json:
    return {"id": name, "resource": resource}


def journal(**more: object) -> Json:
    told: Json = {
        "run": "20261122T030000Z", "state": "failed", "began": "2026-11-22T03:00:00+00:00", "seconds": 75.0,
        "words": ["-b", "-p", EVIL], "counts": {"built": 1, "pushed": 0, "failed": 1},
        "plan": {
            "notes": [f"a note {EVIL}"],
            "tasks": [
                task("layer x", "build"), task("build x", "build"), task("push x", "push"), task("boot x", "boot"),
            ],
        },
        "results": [
            result("layer x"),
            result("build x", started=10.0, seconds=60.0),
            result("boot x", status="cached", seconds=0),
            result("push x", started=70.0, seconds=5.0, status="failed", error=f"no {EVIL}", hint="do it",
                   tail=["last line"], log="/logs/push"),
        ],
        "critical": ["layer x", "build x", "push x"],
        "images": [
            {
                "image": "cc-x", "arch": "amd64", "version": "20261122T030000Z", "before": "20261121T030000Z",
                "built": True, "ok": False, "size": 300 << 20, "size_before": 310 << 20, "disk": 2 << 30,
                "packages": 412,
                "sites": [{"site": "kvm", "name": "CC-X", "format": "raw", "status": "failed", "version": "",
                           "where": "", "error": f"full {EVIL}"}],
                "boot": {"passed": True, "level": "checks", "failed": None,
                         "boots": {"bios": {"levels": {"kernel": 3.1, "login": 41.0}},
                                   "uefi": {"levels": {"kernel": 5.5}}}},
                "sizes": {"/usr/lib": 800 << 20, "/var": 100 << 20}, "rest": 5 << 20, "compared": True,
                "changes": {"packages": ["+htop 3", "-nano 1", f"vim 1 → 2{EVIL}"], "units": ["+cron.service"]},
            }
        ],
    }  # fmt: skip
    return told | more


class Text(HTMLParser):
    """The text of a page, its tags, and the attributes that name something elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.outside: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)
        named = [value for name, value in attrs if name in ("src", "href", "action", "data", "poster")]
        (self.links if tag == "a" else self.outside).extend(named)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_tells_what_the_journal_tells() -> None:
    page = html.page(journal())
    read = Text(page)
    assert read.open == [], "every tag is closed"
    for each in (
        "Run 20261122T030000Z", "failed", "1 min 15 s", "push x failed", "do it", "last line", "/logs/push", "a note",
        "layer x → build x → push x", "20261121T030000Z", "300 MiB (\N{MINUS SIGN}10.0 MiB)", "412", "kvm",
        "41.0", "/usr/lib",
        "800 MiB", "all others", "+htop 3", "-nano 1", "1 added, 1 removed, 1 changed", "+cron.service",
        "1 tasks had nothing to do", "boots: checks",
    ):  # fmt: skip
        assert each in read.text, each
    assert page.count('<i class="path"') == 2
    assert page.count('<i class="failed"') == 1


def test_a_page_runs_nothing_and_asks_for_nothing() -> None:
    page = html.page(journal())
    read = Text(page)
    assert "script" not in read.tags
    assert EVIL in read.text, "shown as text"
    assert read.outside == ["data:,"]
    assert read.links == ["/logs/push"], "a log, which nobody fetches unasked"
    assert not re.search(r"url\(|@import|https?:", page)
    assert html.POLICY.startswith("default-src 'none'")
    assert "<style>" in page
    assert "prefers-color-scheme: dark" in page


def test_a_page_of_a_run_that_died_early_or_did_nothing() -> None:
    bare = {"run": "r", "state": "killed", "words": [], "began": "now"}
    assert "killed" in Text(html.page(bare)).text
    left = bare | {"state": "left", "error": "another one is at work", "seconds": 0.1}
    assert "another one is at work" in Text(html.page(left)).text


def test_the_timeline_stays_within_its_track() -> None:
    page = html.page(journal())
    for left, width in re.findall(r"left:([\d.]+)%;width:([\d.]+)%", page):
        assert 0 <= float(left) <= 100
        assert float(left) + float(width) <= 100.01


def test_a_run_in_one_line() -> None:
    assert text.summary(journal()) == (
        f"cc-images 20261122T030000Z failed: 1 built, 1 failed in 1 min 15 s; push x: no {EVIL}"
    )
    quiet = {"run": "r", "state": "ok", "seconds": 0.2, "counts": {"built": 0, "unchanged": 12}}
    assert text.summary(quiet) == "cc-images r ok: 12 unchanged in 0.2 s"
    assert text.summary({"run": "r", "state": "ok", "counts": {}, "seconds": 0.1}).endswith("nothing to do in 0.1 s")
    assert text.summary({"state": "failed", "error": "a: b\nc: d"}) == "cc-images failed: a: b; c: d"
