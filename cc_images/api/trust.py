"""Trust: whose signatures count, and what a signature must be about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import signing
from cc_images.model.statement import SIGNATURE, STATEMENT, digests


def required_keys(config: Config) -> Path:
    """Return the file of keys whose signatures count. Raises UserError when there is none."""
    if config.trusted is None:
        raise UserError(
            "nothing says whose signatures count",
            hint="name a file of allowed signers, or of exported GPG keys: `keys: {trusted: FILE}` in settings.yaml",
            reason=Reason.SIGNATURE,
        )
    return config.trusted


def require_signed(properties: Mapping[str, str], digest: tuple[str, str], trusted: Path) -> str:
    """Return who has signed a statement about a file with this digest (algorithm, hexadecimal).

    Raises CCImagesError when nobody has who is trusted, and for a statement about other bytes.
    """
    said, made = properties.get(STATEMENT, ""), properties.get(SIGNATURE, "")
    if not (said and made):
        raise CCImagesError("it is not signed", reason=Reason.SIGNATURE)
    who = signing.signer(said, made, trusted)
    algorithm, value = digest
    try:
        if value not in digests(said, algorithm).values():
            raise ValueError("what is signed is about other bytes")
    except ValueError as error:
        raise CCImagesError(f"the signature is refused: {error}", reason=Reason.SIGNATURE) from error
    return who
