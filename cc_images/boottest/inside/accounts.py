"""The accounts of a tree that is this process's root: whom a container runs as, and what that account may do.

Runs beside `container.py` with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import os
import re
from typing import Any

Facts = dict[str, Any]

MOST = 1 << 20
"""Bytes of a file that are read."""

POWERFUL = ("sudo", "wheel", "admin", "root")
"""Groups whose members may become root."""


def lines(path: str) -> list[str]:
    """Return a file's lines; none where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(MOST).decode(errors="replace").splitlines()
    except OSError:
        return []


def fields(path: str, count: int) -> list[list[str]]:
    """Return the lines of a file such as passwd(5) that have so many fields."""
    return [each for each in (line.split(":") for line in lines(path)) if len(each) == count]


def account(said: str) -> Facts:
    """Return the account that a configuration names: `user`, `uid`, `user:group`; empty is root.

    Raises OSError for a name that the tree does not have.
    """
    user, _, group = said.partition(":")
    known = fields("/etc/passwd", 7)
    entry = next((each for each in known if user in (each[0], each[2])), None)
    if entry is None and user and not user.isdecimal():
        raise OSError(0, f"its user {user} is not in its /etc/passwd")
    uid = int(entry[2]) if entry else int(user or "0")
    groups = fields("/etc/group", 4)
    gid = int(entry[3]) if entry else 0
    if group:
        found = next((each[2] for each in groups if group in (each[0], each[2])), group)
        if not found.isdecimal():
            raise OSError(0, f"its group {group} is not in its /etc/group")
        gid = int(found)
    name = entry[0] if entry else ""
    more = [each for each in groups if name and name in each[3].split(",") and each[2].isdecimal()]
    own = [each[0] for each in groups if each[2] == str(gid)]
    return {
        "name": name,
        "uid": uid,
        "gid": gid,
        "home": entry[5] if entry else "/",
        "groups": [int(each[2]) for each in more] if not group else [],
        "group_names": sorted({*own, *(each[0] for each in more)}),
    }


def sudo(user: Facts) -> list[str]:
    """Return what lets an account become root: groups, and lines of sudoers(5)."""
    found = [f"the group {each}" for each in user["group_names"] if each in POWERFUL and user["uid"] != 0]
    files = ["/etc/sudoers", *(f"/etc/sudoers.d/{each}" for each in listed("/etc/sudoers.d"))]
    names = [user["name"], f"#{user['uid']}", "ALL", *(f"%{each}" for each in user["group_names"])]
    for path in files:
        for line in lines(path):
            words = re.sub(r"(^|\s)#\D.*|(^|\s)#$", "", line).split()
            if len(words) > 1 and words[0] in names and "=" in line:
                found.append(f"{path}: {' '.join(words)[:100]}")
    return found


def password(user: Facts) -> str:
    """Return the account's hashed password, as shadow(5) or passwd(5) has it; empty without one."""
    for path, count in (("/etc/shadow", 9), ("/etc/passwd", 7)):
        for each in fields(path, count):
            if each[0] == user["name"] and each[1] not in ("x", ""):
                return "" if each[1][0] in "!*" else each[1]
    return ""


def owned(folders: list[str]) -> dict[str, Any]:
    """Return owner and group of folders, None for what is none."""
    found: dict[str, Any] = {}
    for each in folders:
        try:
            status = os.stat(each)
        except OSError:
            found[each] = None
            continue
        found[each] = [status.st_uid, status.st_gid] if os.path.isdir(each) else None
    return found


def listed(folder: str) -> list[str]:
    """Return what is in a folder; nothing where there is none."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
