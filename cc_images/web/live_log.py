"""Live logs: server-sent events whose ids are offsets in the log, so that a broken connection goes on where it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from anyio.to_thread import run_sync
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from cc_images.web.files import cleaned

EVERY = 0.25
"""Seconds between two looks at a log."""

TURNS = 4
"""Looks at a log between two questions whether it is over."""

MOST = 1 << 16
"""Bytes of an event."""

SILENCE = 15.0
"""Seconds after which a comment says that the connection is alive."""


class Live(StreamingResponse):
    """Events as an answer; at its end, however that comes, `ended` is called."""

    def __init__(self, told: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(told, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def events(path: Path, offset: int, over: Callable[[], str | None]) -> AsyncIterator[bytes]:
    """Yield what a log gets, until `over` gives a word for how that ended: the last event, `end`, has it."""
    silent, turn, ended = 0.0, 0, None
    yield b"retry: 1000\n\n"
    while True:
        if turn % TURNS == 0:
            ended = await run_sync(over)  # before the look at the log: what is written until then is in it
        turn += 1
        lines = await run_sync(_read, path, offset, ended is not None)
        while lines:
            offset += len(lines)
            yield _event(lines, offset)
            lines = await run_sync(_read, path, offset, ended is not None)
            silent = 0.0
        if ended is not None:
            yield f"event: end\nid: {offset}\ndata: {ended}\n\n".encode()
            return
        await asyncio.sleep(EVERY)
        silent += EVERY
        if silent >= SILENCE:
            yield b": alive\n\n"
            silent = 0.0


def _read(path: Path, offset: int, all_of_it: bool) -> bytes:
    """Return whole lines from an offset on; the rest of the file if nothing comes any more."""
    with suppress(OSError), path.open("rb") as log:
        offset = min(offset, log.seek(0, os.SEEK_END))
        log.seek(offset)
        found = log.read(MOST)
        whole = found[: found.rfind(b"\n") + 1]
        if len(found) == MOST:
            return whole or _characters(found)
        return found if all_of_it else whole
    return b""


def _characters(text: bytes) -> bytes:
    """Return a part of a long line without the beginning of a character at its end."""
    end = len(text)
    while end > len(text) - 4 and text[end - 1] & 0xC0 == 0x80:
        end -= 1
    return text[: end - 1] if text[end - 1] >= 0xC0 else text


def _event(lines: bytes, offset: int) -> bytes:
    text = cleaned(lines).decode(errors="replace").removesuffix("\n")
    return (f"id: {offset}\n" + "".join(f"data: {line}\n" for line in text.split("\n")) + "\n").encode()
