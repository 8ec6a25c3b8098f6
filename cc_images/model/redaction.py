"""Redaction: which values are secrets, and texts without them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from urllib.parse import unquote

DECLARED = "(a declared secret)"
"""The stand-in in keys for the value of a variable that the catalogue declares a secret."""


LEAST_SECRET = 6
"""Characters below which a value is too common to be looked for in an image."""


LEAST_LINE = 20
"""Characters of a line of a secret below which it says nothing by itself."""


_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^/@\s]*@", re.IGNORECASE)


_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?'\"]*)\?[^\s'\"]*", re.IGNORECASE)


_LOGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^/@\s]*@)", re.IGNORECASE)


_SIGNATURE = re.compile(r"[?&][^=&\s]*(?:sig|token|secret|key)[^=&\s]*=([^&\s'\"]+)", re.IGNORECASE)


_MORE_SENSITIVE = re.compile(r"SSH_KEY|ROOTPW|(?:^|_)PW(?:_|$)|LUKS|BEARER|PASSPHRASE", re.IGNORECASE)
"""Names that were not taken for secrets when keys were first made: keys go on without them."""


_KEY_FORMS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(?:ghp|gho|glpat|xox[bp])[_-][\w-]{16,}|\bAKIA[0-9A-Z]{16}\b"
)


_SENSITIVE = re.compile(r"PASS(?!WORDLESS)|PWD(?!LESS)|SECRET|TOKEN|CREDENTIAL|PRIVATE|AUTH|API_?KEY", re.IGNORECASE)


def redacted(environment: Mapping[str, str], more: bool = True, declared: Collection[str] = ()) -> dict[str, str]:
    """Return the variables with every value that may be a secret, or holds one, replaced by its digest.

    Secret are those `declared`, and by name and form; without `more` by the rules by which keys are made, which stay as
    they were.
    """
    shown: dict[str, str] = {}
    for name, value in environment.items():
        secret = name in declared or _SENSITIVE.search(name) or (more and is_secret(name, value))
        clean = "" if secret else without_secrets(value)
        shown[name] = (
            value if clean == value else f"{clean} sha256:{hashlib.sha256(value.encode()).hexdigest()}".strip()
        )
    return shown


def is_secret(name: str, value: str) -> bool:
    """Say whether a value is a secret, by the name of its variable or by its own form."""
    return any(
        each is not None for each in (_SENSITIVE.search(name), _MORE_SENSITIVE.search(name), _KEY_FORMS.search(value))
    )


def secret_values(environment: Mapping[str, str], declared: Collection[str] = ()) -> tuple[str, ...]:
    """Return the values, and the parts of addresses, that may be secrets and are long enough to be looked for."""
    found: list[str] = []
    for name, value in environment.items():
        if name in declared or is_secret(name, value):
            found += [value, *(line for line in value.splitlines() if len(line) > LEAST_LINE)]
        found += [each[1].rstrip("@").rpartition("/")[2].rpartition(":")[2] for each in _LOGIN.finditer(value)]
        found += [each[1] for each in _SIGNATURE.finditer(value)]
    found += [unquote(value) for value in found]  # as programs that are given an address write it down
    return tuple(dict.fromkeys(value for value in found if len(value) >= LEAST_SECRET))


def without_logins(text: str) -> str:
    """Return a text whose addresses have lost user and password."""
    return _USER.sub(r"\1", text)


def without_secrets(text: str) -> str:
    """Return a text fit for a log: addresses in it lose user, password and the query, which may hold a signature."""
    return _QUERY.sub(r"\1", without_logins(text))
