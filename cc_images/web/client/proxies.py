"""Proxies on the way to a service: which one is taken, by the variables that other programs know.

A proxy gets a name and port to connect to, and its own password if it has one; what goes through is the service's TLS.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from http.client import HTTPSConnection
from ssl import SSLContext
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from cc_images.errors import Reason, UserError
from cc_images.web.client.address import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy; `authorization` is what it wants to be told, and nobody else."""

    host: str
    port: int
    authorization: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def tunnel(self, address: Address, timeout: float, context: SSLContext) -> HTTPSConnection:
        """Return a connection to a service that will go through the proxy."""
        made = HTTPSConnection(self.host, self.port, timeout=timeout, context=context)
        headers = {"proxy-authorization": self.authorization} if self.authorization else {}
        made.set_tunnel(address.host, address.port, headers)
        return made

    def refusal(self, error: Exception) -> UserError | None:
        """Return what is said of a proxy that will not do it, since that stays so; None for other errors."""
        said = str(error)
        if said.startswith("Tunnel connection failed: 407"):
            return UserError(
                f"the proxy {self} wants another name and password",
                hint="HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT", reason=Reason.CREDENTIALS,
            )  # fmt: skip
        if said.startswith("Tunnel connection failed: 403"):
            return UserError(f"the proxy {self} refuses to connect there", reason=Reason.FORBIDDEN)
        return None


def proxy_for(address: Address) -> Proxy | None:
    """Return the proxy on the way to a service, by HTTPS_PROXY and NO_PROXY; none to this host. Raises UserError."""
    said = getproxies().get("https", "")
    if not said or address.is_here or proxy_bypass(f"{address.host}:{address.port}"):
        return None
    try:
        parts = urlsplit(said if "://" in said else f"http://{said}")
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        host, port = "", 0
    if not host or parts.scheme != "http":  # without its words: there may be a password among them
        raise UserError("HTTPS_PROXY names no HTTP proxy", hint="HTTPS_PROXY=http://HOST:PORT, or NO_PROXY=HOST,…")
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    known = f"Basic {base64.b64encode(login).decode()}" if parts.username else ""
    return Proxy(host=host, port=port, authorization=known)
