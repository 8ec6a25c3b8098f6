"""Passwords and tokens of servers in a tree that is this process's root: of VNC and of notebook servers.

They are known by the files in which these servers keep them, by variables, and by the command lines of what runs. Only
digests leave this module. Runs beside `container.py` with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from cc_images.boottest.inside import accounts, des
else:  # a script has no package
    import accounts
    import des

VNC_FILES = (".vnc/passwd", ".config/tigervnc/passwd")
"""Where servers of VNC look in a home; see vncpasswd(1)."""

VNC_KEY = bytes.fromhex("e84ad660c4721ae0")
"""The key with which every VNC server hides its password; its bits are in the order of DES."""

NOTEBOOK_FOLDERS = ("/etc/jupyter", "/usr/etc/jupyter", "/usr/local/etc/jupyter")
NOTEBOOK_FILE = re.compile(r"jupyter_\w*config\.(py|json)\Z")
SETTING = re.compile(r"""(?:^|[.\s"'{])(token|password|hashed_password)["']?\s*[=:]\s*u?["']([^"'\n]+)["']""")
VARIABLE = re.compile(r"(?:\w+_)?(?:PASSWORD|PASSWD)\Z|JUPYTER_TOKEN\Z|VNC_PW\Z")
OPTION = re.compile(r"--(?:\w+\.)?(token|password|hashed_password)=(.+)", re.DOTALL)
VNC_OPTION = re.compile(r"-{0,2}(?:PasswordFile|rfbauth)(?:=(.+))?\Z", re.IGNORECASE | re.DOTALL)

Found = Iterator[tuple[str, bytes]]


def digests(home: str, variables: dict[str, str], running: bool) -> dict[str, str]:
    """Return the SHA-256 of each password and token by its place; `running`: of processes, too."""
    found = {**dict(_files(home)), **dict(_variables(variables))}
    if running:
        found |= dict(_processes())
    return {place: hashlib.sha256(secret).hexdigest() for place, secret in found.items() if secret}


def _files(home: str) -> Found:
    for folder in dict.fromkeys((home.rstrip("/"), "/root")):
        for name in VNC_FILES:
            yield from _vnc(f"{folder}/{name}")
    for folder in (f"{home.rstrip('/')}/.jupyter", *NOTEBOOK_FOLDERS):
        for name in filter(NOTEBOOK_FILE.match, accounts.listed(folder)):
            for line in accounts.lines(f"{folder}/{name}"):
                for said in SETTING.finditer("" if line.lstrip().startswith("#") else line):
                    yield f"the {said[1]} in {folder}/{name}", said[2].encode()


def _vnc(path: str) -> Found:
    """Yield the password in a file of VNC: eight bytes, those of a second one may follow."""
    try:
        with open(path, "rb") as file:
            hidden = file.read(8)
    except OSError:
        return
    if len(hidden) == 8:
        yield f"the VNC password in {path}", des.decrypted(hidden, VNC_KEY).rstrip(b"\0")


def _variables(variables: dict[str, str]) -> Found:
    for name, value in variables.items():
        if VARIABLE.match(name):
            yield f"the variable {name}", value.encode(errors="replace")


def _processes() -> Found:
    """Yield what the environment and the command lines of the container's processes have."""
    for number in filter(str.isdecimal, accounts.listed("/proc")):
        words = _words(f"/proc/{number}/cmdline")
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if said := OPTION.match(word):
                yield f"the {said[1]} on a command line", said[2].encode()
            if named := VNC_OPTION.match(word):
                yield from _vnc(named[1] or following)
        yield from _variables(dict(each.partition("=")[::2] for each in _words(f"/proc/{number}/environ")))


def _words(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            return [os.fsdecode(each) for each in file.read(accounts.MOST).split(b"\0")]
    except OSError:
        return []
