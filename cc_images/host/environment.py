"""The environment of this process, and the part of it that commands get."""

from __future__ import annotations

import os
import pwd


def plain(**more: str) -> dict[str, str]:
    """Return the environment of a command that needs nothing but its programs, in English."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **more}


def inherited(*beginnings: str) -> dict[str, str]:
    """Return the variables whose names begin in one of these ways."""
    return {name: value for name, value in os.environ.items() if name.startswith(beginnings)}


def whole(but: str = "", **more: str) -> dict[str, str]:
    """Return all variables, without those that begin with `but`, and with some more."""
    kept = {name: value for name, value in os.environ.items() if not but or not name.startswith(but)}
    return kept | more


def variable(name: str, default: str = "") -> str:
    """Return one variable."""
    return os.environ.get(name, default)


def owner() -> str:
    """Return the user who began this process: the one behind sudo, else its own."""
    return os.environ.get("SUDO_USER") or user(os.getuid())


def user(number: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
