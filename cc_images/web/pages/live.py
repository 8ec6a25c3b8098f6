"""Live parts of pages: sent again, as server-sent events, whenever they have changed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

from anyio.to_thread import run_sync
from fastapi import Request

from cc_images.web.access import Caller, Problem
from cc_images.web.live_log import Live
from cc_images.web.pages.visitors import visitor

EVERY = 1.0
"""Seconds between two looks."""

SILENCE = 15
"""Looks without a change after which a comment says that the connection is alive."""

Look = Callable[[Caller], tuple[str, bool]]
"""Returns a part as it is now for who looks, with the role of now, and whether it will not change any more."""


def stream(request: Request, look: Look) -> Live:
    """Return the answer that follows a part, until that is final, the session is over, or the service ends.

    Raises TooMany.
    """
    owner = request.state.visitor.caller.account.id
    return Live(_events(request, look), request.app.state.service.streams.take(owner))


async def _events(request: Request, look: Look) -> AsyncIterator[bytes]:
    draining: threading.Event = request.app.state.service.draining
    owner = request.state.visitor.caller.account.id
    sent, silent = "", 0
    yield b"retry: 2000\n\n"
    while not draining.is_set():
        caller = (await run_sync(visitor, request)).caller
        if caller is None or caller.account.id != owner:
            return
        try:
            text, final = await run_sync(look, caller)
        except Problem:  # somebody has removed it
            return
        silent += 1
        if text != sent:
            yield event(text)
            sent, silent = text, 0
        elif silent >= SILENCE:
            yield b": alive\n\n"
            silent = 0
        if final:
            yield b"event: end\ndata: over\n\n"
            return
        await asyncio.sleep(EVERY)


def event(text: str) -> bytes:
    """Return a text as an event."""
    return "".join(f"data: {line}\n" for line in text.splitlines()).encode() + b"\n"
