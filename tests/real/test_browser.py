"""The page of a real run in a real browser: what it shows, and that it asks for nothing from anywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from cc_images.model.catalog import Format
from tests.real.conftest import Project
from tests.support.servicebed import ServiceBed

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), "")

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")


class Browser:
    """A headless Chromium that notes every address that it asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, page: Path, *words: str, columns: int = 1200) -> tuple[str, set[str]]:
        """Return the page as the browser has built it, and the addresses that it asked for, its own aside."""
        log = self.folder / "net.json"
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={self.folder / 'profile'}", f"--log-net-log={log}", f"--window-size={columns},1500",
            "--host-resolver-rules=MAP * ~NOTFOUND", *words, page.as_uri(),
        ]  # fmt: skip
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=self.folder)
        assert said.returncode == 0, said.stderr
        text = log.read_text()
        asked = set(re.findall(r'"url":"((?:https?|ftp|wss?|file)://[^"]*)"', text))
        return said.stdout, {each for each in asked if not re.match(r"https?://[^/]*google(apis)?\.com/", each)}


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def test_the_page_of_a_run(project: Project, browser: Browser) -> None:
    code, output = project.run("-b", "-p", "cc-tiny")
    assert code == 0, output
    (page,) = (project.store / "runs").glob("*.html")
    journal = json.loads(page.with_suffix(".json").read_text())
    built, asked = browser.open(page, "--dump-dom")
    assert not [each for each in asked if not each.startswith("file:///") or not each.endswith(page.name)], asked
    text = re.sub(r"<[^>]*>", " ", built)
    for each in ("Timeline", "build cc-tiny amd64", "critical path", "push cc-tiny amd64 to local", journal["run"]):
        assert each in text
    assert journal["critical"][-1] == "push cc-tiny amd64 to local"
    assert journal["critical"][0] == journal["results"][0]["task"]

    # the same test sees a page that does ask for something, and the page's policy forbids that
    bait = browser.folder / "bait.html"
    bait.write_text("<img src='http://127.0.0.1:9/picture'>")
    _, asked = browser.open(bait, "--dump-dom")
    assert "http://127.0.0.1:9/picture" in asked
    bait.write_text(page.read_text().replace("<main>", "<main><img src='http://127.0.0.1:9/picture'>"))
    _, asked = browser.open(bait, "--dump-dom")
    assert "http://127.0.0.1:9/picture" not in asked


def widest(browser: Browser, html: str, columns: int) -> tuple[int, int]:
    """Return how far a page and its links reach to the right in a frame of so many columns, and the frame's width."""
    probe = (
        "<script>document.title = Math.ceil(Math.max(document.documentElement.scrollWidth, "
        "...[...document.links].map(each => each.getBoundingClientRect().right))) + ' of ' + innerWidth</script></body>"
    )
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("</body>", probe)
    (browser.folder / "frame.html").write_text(html)
    # a window is never narrower than 500 pixels, a frame may be
    (browser.folder / "page.html").write_text(
        f"<iframe src=frame.html width={columns} height=900 onload='setTimeout(() => "
        "document.title = this.contentDocument.title)'></iframe>"
    )
    built, _ = browser.open(browser.folder / "page.html", "--dump-dom", "--allow-file-access-from-files",
                            "--virtual-time-budget=3000")  # fmt: skip
    found = re.search(r"<title>(\d+) of (\d+)</title>", built)
    assert found, built
    wide, window = map(int, found.groups())
    assert window >= columns - 20
    return wide, window


@pytest.mark.parametrize("columns", [360, 1200])
def test_nothing_of_a_page_is_wider_than_the_window(browser: Browser, columns: int) -> None:
    from cc_images.report.html import page
    from tests.unit.report.test_html import journal

    wide, window = widest(browser, page(journal()), columns)
    assert wide <= window


@pytest.mark.parametrize("address", ["/", "/available", "/new?kind=machine", "/administration"])
def test_nothing_of_the_service_is_wider_than_a_telephone(browser: Browser, tmp_path: Path, address: str) -> None:
    from tests.support.browser import Browser as Forms

    bed = ServiceBed(tmp_path)
    name = "minimal__workflow_wordcount_x86__64__v3_openmpi-4_nogpu"
    bed.stored(b"layers", "20261122T030000Z", name, name, Format.OCI)
    forms = Forms(bed)
    forms.log_in("root")
    html = forms.get(address).text
    assert "Administration" in html
    assert (name in html) == (address == "/available")
    style = files("cc_images.web.pages") / "static" / "style.css"
    html = re.sub(r'<link rel="stylesheet"[^>]*>', lambda _: f"<style>{style.read_text()}</style>", html)
    wide, window = widest(browser, html, 390)
    assert wide <= window
    bed.database.close()
