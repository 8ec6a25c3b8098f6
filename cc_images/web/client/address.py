"""Where a service is, and how to log in there.

A credential comes from a file alone, and is sent to nobody but the service: by TLS, or to this host.
"""

from __future__ import annotations

import base64
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cc_images.api.addresses import is_loopback
from cc_images.errors import Reason, UserError

_log = logging.getLogger(__name__)

MOST = 4096
"""Bytes of a file with a token that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address of a service; `path` stands before those of its interface."""

    host: str
    port: int
    path: str = ""
    secure: bool = True

    @property
    def is_here(self) -> bool:
        """Whether it is this host."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.secure else 80)
        return f"http{'s' if self.secure else ''}://{host}{'' if usual else f':{self.port}'}{self.path}"


def address_of(said: str) -> Address:
    """Return the address of a service. Raises UserError, which quotes no password."""
    try:
        parts = urlsplit(said)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UserError("the address of the service is no address", hint="https://HOST or https://HOST:PORT") from None
    if parts.username is not None or parts.password is not None:
        raise UserError(
            "the address of the service has a name or password in it, which every user of this host could read",
            hint="put the token, or NAME:PASSWORD, into a file: --token-file FILE",
        )
    plain = said.isascii() and said.isprintable() and " " not in said
    if not plain or parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment:
        raise UserError(f"{said!r} is no address of a service", hint="https://HOST or https://HOST:PORT")
    secure = parts.scheme == "https"
    found = Address(host=host, port=port or (443 if secure else 80), path=parts.path.rstrip("/"), secure=secure)
    if not secure and not found.is_here:
        raise UserError(
            f"{found} is another host, and there is no TLS: anybody on the way could read the token",
            hint=f"use https://{host}, or a tunnel: ssh -L 8080:127.0.0.1:{found.port} {host}",
        )
    return found


def authorization_of(file: str) -> str:
    """Return the header by which to log in, from the first line of a file: a token, or NAME:PASSWORD.

    Raises UserError, which quotes nothing of it.
    """
    if not file:
        raise UserError(
            "the service must know who asks", hint="--token-file FILE or CC_IMAGES_TOKEN_FILE; FILE has a token"
        )
    if file == "-" or file.startswith("cci_"):
        what = "a token itself" if file != "-" else "standard input"
        raise UserError(f"--token-file takes the name of a file, not {what}", hint="write the token into a file")
    try:
        with Path(file).open("rb") as opened:
            status, content = os.fstat(opened.fileno()), opened.read(MOST)
        line = content.decode().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise UserError(f"{file} cannot be read: {why}", reason=Reason.MISSING_FILE) from None
    if status.st_mode & 0o077:
        _log.warning("%s can be read by others: chmod 600 %s", file, file)
    if line.startswith("cci_") and line.isascii() and line.isprintable() and " " not in line:
        return f"Bearer {line}"
    if ":" in line:
        return f"Basic {base64.b64encode(line.encode()).decode()}"
    raise UserError(f"{file} has no token", hint="its first line is a token, cci_…, or NAME:PASSWORD")
