"""The hub: an HTTP server over the store of the head, through which builder hosts read inputs and bring outputs.

Owns listening, TLS, connections and their times; `wire` has one connection, `hub_calls` the calls.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cc_images.errors import Reason, UserError
from cc_images.remote.protocol import UNIX, Limits, host_and_port, is_loopback
from cc_images.remote.wire import Connection, Handler
from cc_images.store.records import Store

_log = logging.getLogger(__name__)

WATCH = 0.25
"""Seconds between two looks of the watchdog."""

LEAVE = 5.0
"""Seconds that connections get to end when the server ends."""


class Hub:
    """A server for the attempts of a store, at HOST:PORT (port 0: any) or unix:/PATH; `tls` is certificate and key."""

    def __init__(
        self,
        store: Store,
        listen: str = "127.0.0.1:0",
        tls: tuple[Path, Path] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._store = store
        self._listen = listen
        self._limits = limits or Limits()
        self._context = _context(*tls) if tls else None
        if not listen.startswith(UNIX):
            host, _ = host_and_port(listen)
            if tls is None and not is_loopback(host):
                raise UserError(
                    f"{listen} is not loopback, and there is no TLS",
                    hint="give a certificate and its key, or listen on 127.0.0.1 or unix:/PATH",
                )
        self._lock = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        self._over = threading.Event()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve in threads, and yield the address for tickets. Raises UserError when it cannot listen there."""
        listener, address = self._listening()
        threads = [
            threading.Thread(target=self._accept, args=(listener,), name="hub", daemon=True),
            threading.Thread(target=self._watch, name="hub-watch", daemon=True),
        ]
        for each in threads:
            each.start()
        try:
            yield address
        finally:
            self._over.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            for each in threads:
                each.join()
            listener.close()
            if address.startswith(UNIX):
                Path(address.removeprefix(UNIX)).unlink(missing_ok=True)
            self._end_all()

    def _listening(self) -> tuple[socket.socket, str]:
        try:
            if self._listen.startswith(UNIX):
                return _unix(Path(self._listen.removeprefix(UNIX))), self._listen
            host, port = host_and_port(self._listen)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            raise UserError(
                f"the hub cannot listen on {self._listen}: {error.strerror or error}",
                hint="another program may have it; name another port or path",
                reason=Reason.HUB,
            ) from error
        shown = f"[{host}]" if ":" in host else host
        return listener, f"{'https' if self._context else 'http'}://{shown}:{listener.getsockname()[1]}"

    # -- connections --------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while not self._over.is_set():
            try:
                link, _ = listener.accept()
            except OSError as error:
                if not self._over.is_set():
                    _log.warning("the hub cannot take a connection: %s", error.strerror)
                    self._over.wait(0.2)  # no descriptors are left, say
                continue
            if not self._make_room():
                link.close()
                continue
            if self._context is not None and link.family != socket.AF_UNIX:
                link = self._context.wrap_socket(link, server_side=True, do_handshake_on_connect=False)
            made = Connection(link, self._limits.header_seconds)
            thread = threading.Thread(target=self._serve, args=(made,), name="hub-connection", daemon=True)
            with self._lock:
                self._connections[made] = thread
            thread.start()

    def _make_room(self) -> bool:
        """Say whether there is room for one more; the oldest that has shown no token makes room."""
        with self._lock:
            if len(self._connections) < self._limits.connections:
                return True
            strangers = [each for each in self._connections if not each.attempt]
            if strangers:
                min(strangers, key=lambda each: each.began).cut()
            return len(self._connections) < self._limits.connections + self._limits.of_attempt and bool(strangers)

    def _serve(self, connection: Connection) -> None:
        try:
            Handler(connection, self._store, self._limits, self._admit)
        finally:
            with self._lock:
                del self._connections[connection]
            with suppress(OSError):
                connection.link.close()

    def _admit(self, connection: Connection, attempt: str) -> bool:
        """Note whose connection this is, and say whether there are not too many of that attempt."""
        with self._lock:
            connection.attempt = attempt
            return sum(each.attempt == attempt for each in self._connections) <= self._limits.of_attempt

    def _watch(self) -> None:
        while not self._over.wait(WATCH):
            now = time.monotonic()
            with self._lock:
                late = [each for each in self._connections if each.deadline < now]
            for each in late:
                each.cut()

    def _end_all(self) -> None:
        deadline = time.monotonic() + LEAVE
        with self._lock:
            left = dict(self._connections)
        for connection in left:
            connection.cut()
        for thread in left.values():
            thread.join(max(0.0, deadline - time.monotonic()))


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        made.load_cert_chain(certificate, key)
    except OSError as error:  # an SSLError is one, too
        lacking = error.errno == errno.ENOENT
        raise UserError(
            f"the certificate {certificate} with the key {key} cannot be used: "
            + ("there is no such file" if lacking else str(error.strerror or error)),
            hint="give both as PEM; the key has no passphrase",
        ) from error
    return made


def _unix(path: Path) -> socket.socket:
    """Return a socket that listens at a path for this user alone; one that a dead server has left is removed."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()
        listener.bind(str(path))
        path.chmod(0o600)  # nobody gets in before it listens
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener
