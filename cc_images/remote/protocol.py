"""Terms that hub and builder share: the ticket, headers, limits, and the error of a fenced attempt."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import record_files
from cc_images.model.attempt import Ticket
from cc_images.model.attempt_shapes import TicketShape
from cc_images.model.catalog import Json

BLOCK = 256 << 10
"""Bytes that are read and written at a time."""

MESSAGE = 1 << 20
"""Largest piece of the stream in one call, in bytes."""

UPLOAD_OFFSET, STREAM_OFFSET = "Upload-Offset", "Stream-Offset"
"""Headers that name the byte at which an unfinished output, or the stream, ends at the hub."""

HOST_FAULTS = frozenset(
    {
        *(Reason.DISK_FULL, Reason.DISK_FAULT, Reason.STORE_UNWRITABLE, Reason.READ_ONLY),
        *(Reason.MISSING_TOOL, Reason.MISSING_DEVICE, Reason.NO_ROOT, Reason.SANDBOX),
    }
)
"""Reasons for which another host may do what this one could not."""

UNIX = "unix:"
"""Beginning of addresses that are sockets of the file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a hub."""

    connections: int = 256
    of_attempt: int = 16
    """Connections of one attempt."""
    header_seconds: float = 15.0
    """For the handshake and the first call of a connection."""
    idle_seconds: float = 30.0
    block_seconds: float = 20.0
    """For each block of a body, in either direction."""
    stream_bytes: int = 512 << 20
    result_bytes: int = 16 << 20
    output_bytes: int = 512 << 30
    lease_seconds: float = 60.0
    require_run: bool = False
    """Whether there are leases only while the attempt's run is at work: a hub of its own process outlives runs."""


class Fenced(CCImagesError):
    """The attempt must end at once: the head has given it up, or another execution of it holds the lease."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the attempt is fenced: {why or 'no reason was given'}", reason=Reason.FENCED)


def now() -> float:
    """Return the time of leases on this host: seconds that go on while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def encoded_ticket(ticket: Ticket) -> Json:
    """Return a ticket as its builder host reads it; a secret."""
    return record_files.encoded(TicketShape, asdict(ticket))


def decoded_ticket(content: bytes) -> Ticket:
    """Return the ticket that a builder host was handed. Raises UserError, which quotes nothing of it."""
    try:
        plain = record_files.parsed(content, TicketShape, "the ticket")
    except record_files.Newer as error:
        raise UserError(str(error), hint="use the version of cc-images that the head has") from None
    except record_files.Damaged:
        raise UserError("this is no ticket", hint="it comes from the head, on standard input") from None
    return Ticket(**{key: plain[key] for key in ("attempt", "token", "address", "ca") if key in plain})


def is_loopback(host: str) -> bool:
    """Say whether a host, by name or address, is this one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [HOST]:PORT. Raises UserError."""
    parts = urlsplit(f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.path or parts.query or "@" in address:
        raise UserError(f"{address} is no address", hint="HOST:PORT, [HOST]:PORT or unix:/PATH")
    return host, port
