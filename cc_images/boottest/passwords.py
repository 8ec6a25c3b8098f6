"""Passwords of accounts, as far as their hashes tell: by the host's libcrypt, see crypt(3)."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import threading

MOST = 200
"""Words of an output that are tried."""

VNC = 8
"""Letters of a password that VNC uses."""

_LOCK = threading.Lock()
"""Held during a call: the library keeps its answer in one place."""


@functools.cache
def _library() -> ctypes.CDLL | None:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        found.crypt.restype = ctypes.c_char_p
        return found
    return None


def is_password(word: str, hashed: str) -> bool:
    """Say whether a word is the password behind a hash; a host without libcrypt knows of none."""
    library = _library()
    if library is None or not hashed or "\0" in word:
        return False
    with _LOCK:
        found = library.crypt(word.encode(), hashed.encode())
    return found is not None and found == hashed.encode()


def printed(output: str, hashed: str) -> bool:
    """Say whether the last words of an output have the password behind a hash."""
    return bool(hashed) and any(is_password(each, hashed) for each in _words(output))


def shows(output: str, digest: str) -> bool:
    """Say whether the last words of an output have what a SHA-256 is of; a password of VNC is its first letters."""
    return bool(digest) and any(
        digest == hashlib.sha256(part.encode(errors="replace")).hexdigest()
        for each in _words(output)
        for part in (each, each[:VNC])
    )


def _words(output: str) -> list[str]:
    words = [each for part in output.split() for each in (part, *re.split(r"[=:,;\"'()<>]+|\.$", part))]
    return [each for each in dict.fromkeys(words[::-1]) if each][:MOST]
