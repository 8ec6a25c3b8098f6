"""The settings of the service, from the command line and the environment."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cc_images.config.loader import load
from cc_images.errors import Reason, UserError
from cc_images.model.service_terms import Limits, SignUp
from cc_images.web import start
from cc_images.web.database import holds_password
from cc_images.web.server import Listen

OWN = ("CC_IMAGES_DATABASE", "CC_IMAGES_DATABASE_FILE")
"""Variables of the service alone: its runs do not get them."""


def settings(options: argparse.Namespace) -> start.Settings:
    """Return the settings that the command line and the environment name. Raises UserError."""
    here, environ = Path.cwd(), dict(os.environ)
    listen = Listen(
        address=getattr(options, "listen", Listen().address),
        tls=(Path(options.tls_certificate), Path(options.tls_key)) if getattr(options, "tls_key", "") else None,
    )
    return start.Settings(
        load=lambda: load(environ, here),
        folder=here,
        environ={name: value for name, value in environ.items() if name not in OWN},
        database=_database(options.database),
        listen=listen,
        limits=_limits(options) if "runs" in options else Limits(),
        sign_up=SignUp(getattr(options, "sign_up", SignUp.OFF)),
    )


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(places=options.runs, bytes=options.account_bytes, days=options.keep_days)


def _database(said: str) -> str:
    """Return the database's address. Raises UserError for a password that everybody could read."""
    if holds_password(said):
        raise UserError(
            "the database's address has a password, which every user of this host could read",
            hint="put the address into CC_IMAGES_DATABASE, or into the file that CC_IMAGES_DATABASE_FILE names",
        )
    if said:
        return said
    if file := os.environ.get("CC_IMAGES_DATABASE_FILE", ""):
        return first_line(file)
    return os.environ.get("CC_IMAGES_DATABASE", "")


def first_line(file: str) -> str:
    """Return the first line of a file. Raises UserError."""
    try:
        return Path(file).read_text().partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not a text in UTF-8"
        raise UserError(f"{file} cannot be read: {why}", hint="name another file", reason=Reason.MISSING_FILE) from None
