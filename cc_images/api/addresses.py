"""Addresses that a server listens on."""

from __future__ import annotations

from cc_images.errors import UserError
from cc_images.remote.protocol import host_and_port, is_loopback

__all__ = ["is_loopback", "listening"]


def listening(address: str) -> tuple[str, int, bool]:
    """Return host and port of an address, and whether only this host can reach it. Raises UserError."""
    try:
        host, port = host_and_port(address)
    except UserError as error:
        raise UserError(error.message, hint="HOST:PORT or [HOST]:PORT") from None
    return host, port, is_loopback(host)
