"""Tokens to join a cluster: where the head is, how it is known, and a secret that expires and opens once."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
import ssl
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from cc_images.errors import UserError
from cc_images.host.files import write_secret
from cc_images.remote.cluster_texts import PORTS, Place, bracketed

BEGINNING = "cc-join."
FORMAT = 1

_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """A token as the joining host reads it."""

    address: str
    """HOST:PORT of the head's endpoint."""
    fingerprint: str
    """The SHA-256 of its certificate."""
    id: str
    secret: str
    expires: float
    format: int = FORMAT


class Invalid(Exception):
    """A token that opens nothing, and why."""


def encoded(token: JoinToken) -> str:
    """Return a token as a line of text; a secret."""
    return BEGINNING + base64.urlsafe_b64encode(json.dumps(asdict(token)).encode()).decode().rstrip("=")


def decoded(text: str) -> JoinToken:
    """Return the token in a text. Raises UserError, which quotes nothing of it."""
    words = text.split()
    try:
        if len(words) != 1 or not words[0].startswith(BEGINNING):
            raise ValueError
        raw = words[0].removeprefix(BEGINNING)
        token = msgspec.json.decode(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)), type=JoinToken)
        if token.format != FORMAT or not _ID.fullmatch(token.id):
            raise ValueError
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise UserError("this is no token", hint="`cc-images cluster token` at the head prints one") from None
    return token


def fingerprint(certificate: Path) -> str:
    """Return the SHA-256 of a certificate in a PEM file."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


class Tokens:
    """The tokens of a head: files that have no secret, only its digest."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def issue(self, address: str, seconds: float) -> JoinToken:
        """Make a token that is valid for so many seconds."""
        self._place.tokens.mkdir(exist_ok=True, mode=0o700)
        made = JoinToken(
            address=f"{bracketed(address)}:{PORTS['joins']}",
            fingerprint=fingerprint(self._place.certificate),
            id=secrets.token_hex(8),
            secret=secrets.token_urlsafe(32),
            expires=round(time.time() + seconds),
        )
        kept = {"format": FORMAT, "expires": made.expires, "secret": _digest(made.secret)}
        write_secret(self._file(made.id), json.dumps(kept).encode())
        return made

    def valid(self) -> bool:
        """Say whether there is a token that opens something; those that have expired are removed."""
        found = False
        for file in self._place.tokens.glob("*.json"):
            try:
                if json.loads(file.read_bytes())["expires"] < time.time():
                    file.unlink(missing_ok=True)
                    file.with_suffix(".used").unlink(missing_ok=True)
                    continue
            except (OSError, ValueError, KeyError, TypeError):
                continue
            found |= not file.with_suffix(".used").exists()
        return found

    def check(self, number: str, secret: str) -> None:
        """Raise Invalid for a token that is none, has expired, or was used."""
        if not _ID.fullmatch(number):
            raise Invalid("no such token")
        try:
            kept = json.loads(self._file(number).read_bytes())
        except (OSError, ValueError):
            raise Invalid("no such token, or it has expired") from None
        if not hmac.compare_digest(kept["secret"], _digest(secret)):
            raise Invalid("no such token")
        if kept["expires"] < time.time():
            raise Invalid("the token has expired")
        if self._file(number).with_suffix(".used").exists():
            raise Invalid("the token was used")

    def use(self, number: str, by: str) -> None:
        """Use a token up. Raises Invalid when another host was faster."""
        try:
            used = os.open(self._file(number).with_suffix(".used"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Invalid("the token was used") from None
        with open(used, "w") as file:
            file.write(by)

    def give_back(self, number: str) -> None:
        """Let a token be used after all, whose answer was not given."""
        with suppress(FileNotFoundError):
            self._file(number).with_suffix(".used").unlink()

    def _file(self, number: str) -> Path:
        return self._place.tokens / f"{number}.json"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
