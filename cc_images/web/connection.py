"""Connections: HTTP/1.1 by uvicorn, with limits of time, and files that go from the disk to the network by themselves.

A head that does not come, and a reader that takes nothing, end the connection. A slow reader is waited for.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import termios
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import h11
from anyio.to_thread import run_sync
from uvicorn.protocols.http.h11_impl import H11Protocol

DIRECT = "cc_images.file"
"""The extension of ASGI by which an answer whose head was sent has part of a file as its body."""

MOST_AT_ONCE = 4 << 20
"""Bytes that one call may send; how many the network takes is fewer mostly."""

MOST_OF_PEER = 100
"""Connections of one address, unless it is a proxy's on this host."""

PROXIES = ("127.0.0.1", "::1")
"""Addresses whose word counts for where a client is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds in which the head of a request must come, and within which a reader must take something."""

    head: float = 15.0
    reader: float = 60.0


class Connection(H11Protocol):
    """One connection."""

    def __init__(self, *, patience: Patience, **how: Any) -> None:
        super().__init__(**how)
        self._patience = patience
        self._head: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None
        self._left = 0
        self._lost = asyncio.Event()
        served = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if not self.transport.get_extra_info("sslcontext"):
                scope["extensions"] = {DIRECT: self.send_file}
            await served(scope, receive, send)

        self.app = app

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection some time; none to an address that has many."""
        super().connection_made(transport)
        self._socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a body waits for its head's receipt
        self._head = self.loop.call_later(self._patience.head, transport.close)
        peer = self.client[0] if self.client is not None else ""
        if peer not in PROXIES and sum(_peer(each) == peer for each in self.connections) > MOST_OF_PEER:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Give it more only for the next request."""
        super().data_received(data)
        waits = self.cycle is None or self.cycle.response_complete
        if self._head is not None and not waits:
            self._head.cancel()
            self._head = None
        elif self._head is None and waits:
            self._head = self.loop.call_later(self._patience.head, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Say that it is no HTTP, unless an answer is on its way: then there is nothing to be said."""
        if self.conn.our_state is h11.SEND_RESPONSE or self.conn.our_state is h11.IDLE:
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time, and wake who waits."""
        if self._head is not None:
            self._head.cancel()
        self._watch_no_more()
        self._lost.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Watch whether the reader takes something."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Watch no more."""
        super().resume_writing()
        self._watch_no_more()

    def _watch(self) -> None:
        self._watch_no_more()
        self._left = self._not_taken()
        self._reader = self.loop.call_later(self._patience.reader, self._look)

    def _watch_no_more(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _look(self) -> None:
        """End the connection if nothing was taken since the last look."""
        if self.transport.is_closing() or self._not_taken() >= self._left:
            with suppress(OSError):  # what the kernel still has for it is given up, too
                self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
            self._lost.set()
        else:
            self._watch()

    def _not_taken(self) -> int:
        """Return how many bytes wait here and in the kernel until the other end has room for them."""
        (queued,) = struct.unpack("i", fcntl.ioctl(self._socket().fileno(), termios.TIOCOUTQ, b"\0" * 4))
        return self.transport.get_write_buffer_size() + int(queued)

    def _socket(self) -> socket.socket:
        found: socket.socket = self.transport.get_extra_info("socket")
        return found

    async def send_file(self, file: int, first: int, behind: int) -> None:
        """Send part of a file as the body of the answer, as fast as it is read. The loop never waits for the disk."""
        if self.transport.is_closing():
            return
        count = cast(bytes, range(behind - first))  # it is measured, and never looked at
        self.conn.send_with_data_passthrough(h11.Data(data=count))
        self.transport.set_write_buffer_limits(high=0)
        try:
            await self.flow.drain()
            await self._pushed(file, first, behind)
        finally:
            self.transport.set_write_buffer_limits()

    async def _pushed(self, file: int, first: int, behind: int) -> None:
        """Send by a second descriptor of the connection, since its own is the transport's."""
        if self.transport.is_closing():
            return
        out = os.dup(self._socket().fileno())
        try:
            while first < behind and not self._lost.is_set():
                wanted = min(MOST_AT_ONCE, behind - first)
                sent = await run_sync(_sent, out, file, first, wanted)
                if sent is None:  # the reader has left, or the file has become shorter
                    self.transport.abort()
                    await self._lost.wait()
                    return
                first += sent
                if sent < wanted and not self._lost.is_set():
                    await self._room(out)
        finally:
            os.close(out)

    async def _room(self, out: int) -> None:
        """Wait until the kernel takes more, or the connection is lost."""
        free = asyncio.ensure_future(self._lost.wait())
        self.loop.add_writer(out, free.cancel)
        self._watch()
        try:
            await asyncio.wait([free])
        finally:
            self._watch_no_more()
            self.loop.remove_writer(out)
            free.cancel()


def _sent(out: int, file: int, first: int, wanted: int) -> int | None:
    """Return how many bytes the kernel has taken; None: there will be no more."""
    try:
        return os.sendfile(out, file, first, wanted) or None
    except BlockingIOError:
        return 0
    except OSError:
        return None


def _peer(connection: Any) -> str:
    found = getattr(connection, "client", None)
    return str(found[0]) if found else ""
