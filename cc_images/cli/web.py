"""The verbs `serve` and `account`: the service over HTTP, and who may use it."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys
import threading
from pathlib import Path

from cc_images.cli.signals import stopped_by_signals
from cc_images.config.loader import load
from cc_images.errors import UserError
from cc_images.report import text
from cc_images.web import app, log, start
from cc_images.web.accounts import Role
from cc_images.web.database import holds_password
from cc_images.web.queue import Limits
from cc_images.web.server import Listen

OWN = ("CC_IMAGES_DATABASE", "CC_IMAGES_DATABASE_FILE")
"""Variables of the service alone: its runs do not get them."""


def serve(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    if bool(options.tls_certificate) != bool(options.tls_key):
        raise UserError("--tls-certificate and --tls-key belong together", hint="give both, or neither on loopback")
    settings = _settings(options)
    if options.check:
        found = start.check(settings)
        text.say(text.as_json(found) if options.json else "\n".join(f"{name}: {said}" for name, said in found.items()))
        return 0
    log.listen(logging.StreamHandler(sys.stderr))
    stop = threading.Event()
    with stopped_by_signals(stop), start.running(settings, app.made) as address:
        text.say(text.as_json({"address": address}) if options.json else f"the service is at {address}")
        sys.stdout.flush()
        stop.wait()
    return 0


def account(options: argparse.Namespace) -> int:
    """Add, change, close or list accounts."""
    if options.action == "list":
        rows = [
            {"name": each.name, "role": each.role, "created": each.created.isoformat(), "closed": bool(each.closed)}
            for each in start.accounts(_settings(options)).everyone()
        ]
        said = "\n".join(f"{row['name']:20} {row['role']}{' (closed)' if row['closed'] else ''}" for row in rows)
        text.say(text.as_json(rows) if options.json else said)
        return 0
    if not options.name:
        raise UserError(f"account {options.action} needs the name of an account")
    known = start.accounts(_settings(options))
    if options.action == "close":
        known.close(options.name)
    elif options.action == "password":
        known.change_password(options.name, _password(options.password_file))
    else:
        role = Role.ADMINISTRATOR if options.administrator else Role.USER
        known.add(options.name, _password(options.password_file), role)
    done = {"add": "added", "password": "has a new password", "close": "closed"}[options.action]
    text.say(text.as_json({"name": options.name, "done": done}) if options.json else f"{options.name}: {done}")
    return 0


def _settings(options: argparse.Namespace) -> start.Settings:
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
        limits=Limits(places=getattr(options, "runs", Limits().places)),
    )


def _database(said: str) -> str:
    """Return the database's address. Raises UserError for a password that everybody could read."""
    if holds_password(said):
        raise UserError(
            "--database has a password, which every user of this host could read",
            hint="put the address into CC_IMAGES_DATABASE, or into the file that CC_IMAGES_DATABASE_FILE names",
        )
    if said:
        return said
    if file := os.environ.get("CC_IMAGES_DATABASE_FILE", ""):
        return _first_line(file)
    return os.environ.get("CC_IMAGES_DATABASE", "")


def _password(file: str) -> str:
    if file == "-":
        return sys.stdin.readline().rstrip("\n")
    if file:
        return _first_line(file)
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for the password", hint="name a file: --password-file FILE")
    first = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != first:
        raise UserError("the two passwords differ")
    return first


def _first_line(file: str) -> str:
    try:
        return Path(file).read_text().partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
