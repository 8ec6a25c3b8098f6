"""Files of the pages that never change while the service runs: style, script, picture. Browsers keep them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from cc_images.web.access import Problem

router = APIRouter()

TYPES: Mapping[str, str] = {
    "style.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files, each with its media type."""

YEAR = 31_536_000


@router.get("/static/{name}")
def get_static(request: Request, name: str, v: str = "") -> Response:
    """Return a file; under the address that has its digest it may be kept for ever."""
    if name not in TYPES:
        raise Problem(404, "there is no such file")
    content, digest = _file(name)
    kept = f"public, max-age={YEAR}, immutable" if v == digest else "no-cache"
    headers = {"etag": f'"{digest}"', "cache-control": kept}
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=TYPES[name])


def address(name: str) -> str:
    """Return the address of a file, with its digest."""
    return f"/static/{name}?v={_file(name)[1]}"


@cache
def _file(name: str) -> tuple[bytes, str]:
    content = Path(__file__).with_name("static").joinpath(name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:16]
