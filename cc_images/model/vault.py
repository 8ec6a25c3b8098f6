"""Secrets by reference: plain data in which each secret is replaced by the name under which a vault has it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from cc_images.model.redaction import is_secret, without_secrets

REFERENCE = "secret:"
"""The prefix of a value that refers to a secret."""


def sealed(plain: Any, vault: dict[str, str], declared: Collection[str] = (), name: str = "") -> Any:
    """Return plain data with references for its secrets, which are added to the vault.

    A value is a secret by the name of its key, by its form, as part of an address, or because its key is `declared`.
    """
    if isinstance(plain, Mapping):
        return {key: sealed(value, vault, declared, str(key)) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [sealed(value, vault, declared, name) for value in plain]
    if isinstance(plain, str) and _is_secret(name, plain, declared):
        reference = f"{REFERENCE}{hashlib.sha256(plain.encode('utf-8', 'surrogateescape')).hexdigest()}"
        vault[reference] = plain
        return reference
    return plain


def unsealed(plain: Any, vault: Mapping[str, str]) -> Any:
    """Return plain data with the secrets of a vault in place of references. Raises KeyError for an unknown one."""
    if isinstance(plain, Mapping):
        return {key: unsealed(value, vault) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [unsealed(value, vault) for value in plain]
    if isinstance(plain, str) and plain.startswith(REFERENCE):
        return vault[plain]
    return plain


def _is_secret(name: str, value: str, declared: Collection[str]) -> bool:
    if not value:
        return False
    # a value that looks like a reference must not be taken for one
    return (
        name in declared
        or value.startswith(REFERENCE)
        or is_secret(name, value)
        or ("://" in value and without_secrets(value) != value)
    )
