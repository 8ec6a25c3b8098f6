"""Forms: their fields, the proof that they were made for who sends them, and where to go afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Request
from starlette.responses import RedirectResponse

from cc_images.web.access import Problem
from cc_images.web.pages.visitors import Anyone

MOST = 1000
"""Fields of a form."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form that was sent, in their order; the same name may be there several times."""

    fields: tuple[tuple[str, str], ...]

    def one(self, name: str) -> str:
        """Return the text of a field without blanks around it; empty: it has none."""
        return self.secret(name).strip()

    def secret(self, name: str) -> str:
        """Return the text of a field as it was typed."""
        return next((value for each, value in self.fields if each == name), "")

    def every(self, name: str) -> list[str]:
        """Return all texts of a field, such as the boxes that are checked."""
        return [value for each, value in self.fields if each == name]

    def has(self, name: str) -> bool:
        """Say whether a box is checked, or a button was pressed."""
        return any(each == name for each, _ in self.fields)


async def posted(request: Request, visitor: Anyone) -> Form:
    """Return the form of a request. Raises Problem when it was not made for who sends it."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Problem(400, "that is no form")
    try:
        text = (await request.body()).decode()
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST, errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise Problem(400, "the form cannot be read") from None
    form = Form(tuple(fields))
    if not visitor.has_made(form.secret("csrf")):
        raise Problem(403, "the form is out of date: go back, load the page again, and send it once more")
    return form


Posted = Annotated[Form, Depends(posted)]


def local(address: str) -> str:
    """Return an address if it is one of this service; else that of the first page."""
    fine = address.startswith("/") and not address.startswith("//") and "\\" not in address and address.isprintable()
    return address if fine and address.isascii() else "/"


def redirect(address: str, notice: str = "", **query: str) -> RedirectResponse:
    """Lead to another page after a form; `notice` is one of `layout.NOTICES`."""
    said: Mapping[str, str] = query | ({"notice": notice} if notice else {})
    joint = "&" if "?" in address else "?"
    return RedirectResponse(address + (f"{joint}{urlencode(said)}" if said else ""), 303)
