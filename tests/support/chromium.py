"""Chromium, driven by playwright: people at their browsers, and all that they ask for."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), "")
LACKING = "needs chromium" if not CHROMIUM else "needs playwright" if not importlib.util.find_spec("playwright") else ""
"""What keeps a browser from being driven; empty: nothing."""


@contextmanager
def browsing() -> Iterator[Browser]:
    """Yield a headless browser that reaches this host alone."""
    from playwright.sync_api import sync_playwright

    words = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=words)
        try:
            yield browser
        finally:
            browser.close()


class Person:
    """A person with a browser of their own. `asked` has all addresses that it asked for, `complaints` its errors."""

    def __init__(self, browser: Browser, address: str, *, scripts: bool) -> None:
        context = browser.new_context(base_url=address, java_script_enabled=scripts, accept_downloads=True)
        context.set_default_timeout(60_000)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: self._complain(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self._complain(str(error)))

    def _complain(self, text: str) -> None:
        if "Failed to load resource" not in text:  # an answer such as 400
            self.complaints.append(text)

    def status(self, path: str) -> int:
        """Return what an address answers to this person's cookies."""
        return self.page.request.get(path, max_redirects=0).status

    def see(self, text: str) -> None:
        """Wait until a text is seen."""
        self.page.get_by_text(text).first.wait_for()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def go(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def write(self, **fields: str) -> None:
        """Fill in fields by their names."""
        for name, text in fields.items():
            self.page.locator(f"[name={name}]:not([type=hidden])").fill(text)
