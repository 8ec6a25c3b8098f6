"""A browser as far as forms go: cookies, tokens of forms, and no JavaScript."""

from __future__ import annotations

import re
from typing import Any

import httpx

from tests.support.servicebed import PASSWORDS, ServiceBed

AGENT = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Browser:
    """Looks at pages of a service, and sends forms with the token of the page that it has seen last."""

    def __init__(self, bed: ServiceBed, origin: str = "") -> None:
        self._bed = bed
        self._origin = origin
        self.cookies: dict[str, str] = {}
        self.csrf = ""
        self.last = httpx.Response(200)

    def get(self, path: str, **what: Any) -> httpx.Response:
        return self._ask("GET", path, **what)

    def post(self, path: str, /, csrf: str | None = None, **fields: str | list[str]) -> httpx.Response:
        """Send a form; `csrf` instead of the token of the last page."""
        return self._ask("POST", path, data={"csrf": self.csrf if csrf is None else csrf, **fields})

    def log_in(self, who: str) -> None:
        self.get("/login")
        answer = self.post("/login", name=who, password=PASSWORDS[who])
        assert answer.status_code == 303, answer.text
        self.get("/")
        self.last = answer

    def follow(self) -> httpx.Response:
        """Go where the last answer leads."""
        assert self.last.status_code == 303, self.last.text
        return self.get(self.last.headers["location"])

    def _ask(self, method: str, path: str, headers: dict[str, str] | None = None, **what: Any) -> httpx.Response:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = AGENT | ({"cookie": cookie} if cookie else {}) | (headers or {})
        self.last = self._bed.ask("", method, self._origin + path, headers=sent, **what)
        for each in self.last.headers.get_list("set-cookie"):
            name, _, value = each.partition(";")[0].partition("=")
            if "Max-Age=0" in each:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        if found := re.search(r'name="csrf" value="([0-9a-f]+)"', self.last.text):
            self.csrf = found[1]
        return self.last
