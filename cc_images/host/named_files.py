"""Files of this host that variables name: builds read them, so they count in the key, and sandboxes show them.

A value may be a path, an address (`file:///x`), a list, an option (`--keyring=/x`), or all of that: every existing
absolute path in it counts. Folders of the system itself are no inputs; a value may well name a place inside the
image.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from cc_images.errors import Reason, UserError

MOST = 100_000
"""Files of a folder that are looked at."""

_PATHS = re.compile(r"(?:(?<=file://)/|(?<![\w./~-])/(?!/)|(?<==)/)[^\s,:;\"'\])}>|]+")
_ADDRESS = re.compile(r"\bfile://(/[^\s,;\"'\])}>|]+)")

_SYSTEM = frozenset(
    {
        "/",
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/home",
        "/lib",
        "/lib32",
        "/lib64",
        "/media",
        "/mnt",
        "/opt",
        "/proc",
        "/root",
    }
    | {"/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/var"}
    | {"/usr/sbin", "/usr/share", "/usr/src", "/var/cache", "/var/lib", "/var/log", "/var/tmp", "/etc/apt", "/etc/ssl"}
)
_VIRTUAL = ("/dev/", "/proc/", "/sys/")


def named_files(environment: Mapping[str, str]) -> dict[str, Path]:
    """Return the files and folders that variables name: by the variable if it is the value, else by both."""
    found: dict[str, Path] = {}
    for name, value in environment.items():
        if _is_input(value):
            found[name] = Path(value)
            continue
        for path in _in(value):
            if _is_input(path):
                found[f"{name} {path}"] = Path(path)
    return found


def missing_files(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each address of a file that is not here: a bare path may be one inside the image."""
    return [
        f"{name} names {path}, which this host does not have"
        for name, value in environment.items()
        for path in _ADDRESS.findall(value)
        if not os.path.exists(path)
    ]


def stamp(path: Path, most: int = MOST) -> str:
    """Return what identifies a file or folder of this host: it may be gigabytes, so sizes and times must do."""
    seen: list[tuple[str, os.stat_result]] = []
    for each in _below(path):
        if os.path.exists(each):
            seen.append((os.path.relpath(each, path), os.stat(each)))
        if len(seen) > most:
            raise UserError(
                f"{path}, which a variable names, has more than {most:,} files",
                hint="name the files or folders that builds need",
                reason=Reason.TOO_MANY_FILES,
            )
    text = "".join(f"{name} {status.st_size} {status.st_mtime_ns}\n" for name, status in sorted(seen))
    return f"{len(seen)} files {hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()}"


def _below(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
        return
    for root, _, files in os.walk(path):
        yield from (each for name in files if os.path.isfile(each := os.path.join(root, name)))


def _in(value: str) -> Iterator[str]:
    yield from dict.fromkeys(match.rstrip(".") for match in _PATHS.findall(value))


def _is_input(text: str) -> bool:
    """Say whether a text is the path of a file or folder that a build may read."""
    if not text.startswith("/") or "\0" in text or len(text) > 4096:
        return False
    plain = os.path.normpath(text)
    if plain in _SYSTEM or f"{plain}/".startswith(_VIRTUAL):
        return False
    try:
        mode = os.stat(plain).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
