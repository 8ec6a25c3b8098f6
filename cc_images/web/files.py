"""Files over HTTP: whole or by range, never in memory as a whole.

The kernel sends them where the server can let it (`connection`). With TLS they go a chunk at a time; so do logs, which
are cleaned.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cc_images.web.connection import DIRECT
from cc_images.web.ranges import Unsatisfiable, wanted
from cc_images.web.throttle import TooMany

CHUNK = 1 << 18

Clean = Callable[[bytes], bytes]
Ended = Callable[[], None]

_CONTROL = bytes(each if each >= 32 and each != 127 else (each if each in b"\n\t" else ord("?")) for each in range(256))
_C1 = re.compile(rb"\xc2[\x80-\x9f]")


def cleaned(chunk: bytes) -> bytes:
    """Return a log without characters that control a terminal; its length stays."""
    return _C1.sub(b"??", chunk.translate(_CONTROL))


def file_response(
    path: Path,
    request: Request,
    headers: Mapping[str, str],
    media_type: str,
    clean: Clean | None = None,
    place: Callable[[], Ended] | None = None,
) -> Response:
    """Return a file, or the range of it that is asked for. Raises OSError when it cannot be opened.

    The file is open before the answer begins, so it may leave the store meanwhile. `place` is called for an answer with
    a body, and returns what is called at its end.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    size = os.fstat(file).st_size
    sent = {**headers, "accept-ranges": "bytes"}
    etag = headers.get("etag", "")
    if etag and etag in (each.strip() for each in request.headers.get("if-none-match", "").split(",")):
        os.close(file)
        return Response(status_code=304, headers=sent)
    condition, asked = request.headers.get("if-range", ""), request.headers.get("range", "")
    try:
        part = wanted(asked, size) if asked and (not condition or (etag and condition == etag)) else None
    except Unsatisfiable:
        os.close(file)
        return Response(status_code=416, headers={**sent, "content-range": f"bytes */{size}"})
    first, behind = part if part is not None else (0, size)
    if part is not None:
        sent["content-range"] = f"bytes {first}-{behind - 1}/{size}"
    sent["content-length"] = str(behind - first)
    status = 200 if part is None else 206
    if request.method == "HEAD":
        os.close(file)
        return Response(status_code=status, headers=sent, media_type=media_type)
    try:
        ended = place() if place is not None else None
    except TooMany:
        os.close(file)
        raise
    return FileAnswer(file, (first, behind), clean, ended, status_code=status, headers=sent, media_type=media_type)


class FileAnswer(StreamingResponse):
    """Part of an open file as an answer; at its end, however that comes, the file is closed and `ended` called."""

    def __init__(self, file: int, part: tuple[int, int], clean: Clean | None, ended: Ended | None, **more: Any) -> None:
        super().__init__(_chunks(file, *part, clean), **more)
        self._file = file
        self._part = part
        self._clean = clean
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        direct = scope.get("extensions", {}).get(DIRECT) if self._clean is None else None
        try:
            if direct is None:
                await super().__call__(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await direct(self._file, *self._part)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            os.close(self._file)
            if self._ended is not None:
                self._ended()


async def _chunks(file: int, first: int, behind: int, clean: Clean | None) -> AsyncIterator[bytes]:
    while first < behind:
        count = min(CHUNK, behind - first)
        if clean is None:
            chunk = await run_sync(os.pread, file, count, first)
        else:  # with a byte on either side: a character that controls something can have two
            lead = min(1, first)
            chunk = await run_sync(os.pread, file, count + lead + 1, first - lead)
            chunk = clean(chunk)[lead : lead + count]
        if not chunk:
            return
        first += len(chunk)
        yield chunk
