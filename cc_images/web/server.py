"""The server: listens, speaks HTTP and TLS, and ends when it is asked to."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from cc_images.api.addresses import listening
from cc_images.errors import UserError
from cc_images.web.connection import PROXIES, Connection, Patience

MOST_CONNECTIONS = 500

GRACE = 30
"""Seconds that answers get to end when the server ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where a server listens, and with which certificate and key."""

    address: str = "127.0.0.1:8080"
    tls: tuple[Path, Path] | None = None


def check(listen: Listen) -> None:
    """Check that a server may listen there, and that its certificate fits its key. Raises UserError."""
    _, _, loopback = listening(listen.address)
    if listen.tls is None and not loopback:
        raise UserError(
            f"{listen.address} is not loopback, and there is no TLS",
            hint="give --tls-certificate and --tls-key, or listen on 127.0.0.1 behind a proxy that has TLS",
        )
    if listen.tls is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(*listen.tls)
        except (OSError, ssl.SSLError) as error:
            raise UserError(
                f"the certificate cannot be used: {error.strerror or error}",
                hint="--tls-certificate has the whole chain, --tls-key its key without a password, both as PEM",
            ) from None


def listener(listen: Listen) -> socket.socket:
    """Return a socket that listens. Raises UserError."""
    host, port, _ = listening(listen.address)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise UserError(
            f"nothing can listen on {listen.address}: {error.strerror or error}", hint="name another port"
        ) from None


@contextmanager
def serving(app: Any, listen: Listen, ending: threading.Event, patience: Patience | None = None) -> Iterator[str]:
    """Serve an application in a thread, and yield its address; then set `ending` and let answers end.

    Raises UserError.
    """
    check(listen)
    host = listening(listen.address)[0]
    listens = listener(listen)
    certificate, key = listen.tls or (None, None)
    protocol: Any = partial(Connection, patience=patience or Patience())
    server = uvicorn.Server(
        uvicorn.Config(
            app, http=protocol, ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=True, forwarded_allow_ips=",".join(PROXIES),
            limit_concurrency=MOST_CONNECTIONS, timeout_keep_alive=15, timeout_graceful_shutdown=GRACE,
            ssl_certfile=certificate, ssl_keyfile=key,
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run, args=([listens],), name="server")
    thread.start()
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"{'https' if listen.tls else 'http'}://{shown}:{listens.getsockname()[1]}"
    finally:
        ending.set()
        server.should_exit = True
        thread.join()
