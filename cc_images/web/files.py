"""Files over HTTP: whole or by range, a chunk at a time, so that their size is no matter."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from anyio.to_thread import run_sync
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from cc_images.web.ranges import Unsatisfiable, wanted

CHUNK = 1 << 20

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
    clean: Callable[[bytes], bytes] | None = None,
) -> Response:
    """Return a file, or the range of it that is asked for. Raises OSError when it cannot be opened.

    The file is open before the answer begins, so it may leave the store meanwhile.
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
    return StreamingResponse(_chunks(file, first, behind, clean), status, sent, media_type)


async def _chunks(file: int, first: int, behind: int, clean: Callable[[bytes], bytes] | None) -> AsyncIterator[bytes]:
    try:
        while first < behind:
            chunk = await run_sync(os.pread, file, min(CHUNK, behind - first), first)
            if not chunk:
                return
            first += len(chunk)
            yield clean(chunk) if clean is not None else chunk
    finally:
        os.close(file)
