"""The verb `account`: who may use the service, and how much."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable, Mapping

from cc_images.cli.web_settings import first_line, settings
from cc_images.errors import UserError
from cc_images.model.catalog import Json
from cc_images.report import text, units
from cc_images.web import start
from cc_images.web.accounts import LIMITS, Role


def account(options: argparse.Namespace) -> int:
    """Add, change, close, limit, invite or list accounts."""
    if options.action in LISTS:
        rows, line = LISTS[options.action]
        found = rows(options)
        text.say(text.as_json(found) if options.json else "\n".join(line(row) for row in found))
        return 0
    if not options.name and options.action != "invite":
        what = "the id of an invitation" if options.action == "uninvite" else "the name of an account"
        raise UserError(f"account {options.action} needs {what}")
    done = CHANGES[options.action](options)
    text.say(text.as_json(done) if options.json else done.get("invitation") or f"{options.name}: {done['done']}")
    return 0


def _accounts(options: argparse.Namespace) -> list[Json]:
    return [
        {"name": each.name, "role": each.role, "created": each.created.isoformat(), "closed": bool(each.closed)}
        | {name: getattr(each, column) for name, column in LIMITS.items()}
        for each in start.accounts(settings(options)).everyone()
    ]


def _account_line(row: Json) -> str:
    limits = [f"{name} {_amount(name, row[name])}" for name in LIMITS if row[name] is not None]
    said = f" ({', '.join(limits)})" if limits else ""
    return f"{row['name']:20} {row['role']}{said}{' (closed)' if row['closed'] else ''}"


def _amount(name: str, most: int) -> str:
    return units.size(most) if name == "bytes" else str(most)


def _invitations(options: argparse.Namespace) -> list[Json]:
    return [
        {"id": each.id, "label": each.label, "maker": each.maker, "expires": each.expires.isoformat(),
         "used": bool(each.used), "revoked": bool(each.revoked)}
        for each in start.invitations(settings(options)).everything()
    ]  # fmt: skip


def _invitation_line(row: Json) -> str:
    state = "used" if row["used"] else "revoked" if row["revoked"] else f"until {row['expires'][:16]}Z"
    return f"{row['id']}  {state}  {row['label']}".rstrip()


def _add(options: argparse.Namespace) -> Json:
    known = start.accounts(settings(options))
    known.add(options.name, _password(options.password_file), _role(options))
    return {"name": options.name, "done": "added"}


def _change_password(options: argparse.Namespace) -> Json:
    start.accounts(settings(options)).change_password(options.name, _password(options.password_file))
    return {"name": options.name, "done": "has a new password"}


def _give_role(options: argparse.Namespace) -> Json:
    if not (options.administrator or options.user):
        raise UserError("account role needs a role", hint="--administrator or --user, which is an ordinary account")
    role = _role(options)
    start.accounts(settings(options)).give_role(options.name, role)
    said = "an administrator" if role is Role.ADMINISTRATOR else "an ordinary account"
    return {"name": options.name, "role": role, "done": f"is {said} now"}


def _limit(options: argparse.Namespace) -> Json:
    said = {"running": options.running, "waiting": options.waiting, "bytes": options.bytes}
    changes = {name: None if most == "default" else most for name, most in said.items() if most is not None}
    if not changes:
        raise UserError("account limit needs a limit", hint="--running N, --waiting N or --bytes SIZE")
    found = start.accounts(settings(options)).limit(options.name, changes)
    now = {name: getattr(found, column) for name, column in LIMITS.items()}
    words = [f"{name} {'default' if most is None else _amount(name, most)}" for name, most in now.items()]
    return {"name": options.name, "done": ", ".join(words), **now}


def _close(options: argparse.Namespace) -> Json:
    start.accounts(settings(options)).close(options.name)
    return {"name": options.name, "done": "closed"}


def _invite(options: argparse.Namespace) -> Json:
    said, made = start.invitations(settings(options)).create(options.name, options.days)
    return {"id": made.id, "expires": made.expires.isoformat(), "invitation": said}


def _uninvite(options: argparse.Namespace) -> Json:
    if not start.invitations(settings(options)).revoke(options.name):
        raise UserError("there is no such invitation that could be used", hint="cc-images account invitations")
    return {"id": options.name, "done": "revoked"}


LISTS: Mapping[str, tuple[Callable[[argparse.Namespace], list[Json]], Callable[[Json], str]]] = {
    "list": (_accounts, _account_line),
    "invitations": (_invitations, _invitation_line),
}

CHANGES: Mapping[str, Callable[[argparse.Namespace], Json]] = {
    "add": _add,
    "password": _change_password,
    "role": _give_role,
    "limit": _limit,
    "close": _close,
    "invite": _invite,
    "uninvite": _uninvite,
}


def _role(options: argparse.Namespace) -> Role:
    return Role.ADMINISTRATOR if options.administrator else Role.USER


def _password(file: str) -> str:
    if file == "-":
        return sys.stdin.readline().rstrip("\n")
    if file:
        return first_line(file)
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for the password", hint="name a file: --password-file FILE")
    first = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != first:
        raise UserError("the two passwords differ")
    return first
