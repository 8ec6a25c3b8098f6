"""Live logs: server-sent events whose ids are offsets in the log, so that a broken connection goes on where it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from anyio.to_thread import run_sync

from cc_images.web.files import cleaned

EVERY = 0.25
"""Seconds between two looks at a log."""

TURNS = 4
"""Looks at a log between two questions whether it is over."""

MOST = 1 << 16
"""Bytes of an event."""

SILENCE = 15.0
"""Seconds after which a comment says that the connection is alive."""


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
        return found if (all_of_it and len(found) < MOST) or (len(found) == MOST and not whole) else whole
    return b""


def _event(lines: bytes, offset: int) -> bytes:
    text = cleaned(lines).decode(errors="replace").removesuffix("\n")
    return (f"id: {offset}\n" + "".join(f"data: {line}\n" for line in text.split("\n")) + "\n").encode()
