"""Trust: whose signatures count, and what a signature must be about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Reason, UserError
from cc_images.host import signing
from cc_images.model.statement import SIGNATURE, STATEMENT, digests, identity


def required_keys(config: Config) -> Path:
    """Return the file of keys whose signatures count. Raises UserError when there is none."""
    if config.trusted is None:
        raise UserError(
            "nothing says whose signatures count",
            hint="name a file of allowed signers, or of exported GPG keys: `keys: {trusted: FILE}` in settings.yaml",
            reason=Reason.SIGNATURE,
        )
    return config.trusted


def require_signed(
    properties: Mapping[str, str], digest: tuple[str, str], trusted: Path, *, file: str = "", arch: str = ""
) -> str:
    """Return who has signed that a file has this digest (algorithm, hexadecimal), and is of this version.

    The version is that of the properties. With `file` (name and suffix) and `arch` it must be just that image's: else
    another one, or one for another architecture, could stand in its place.

    Raises CCImagesError when nobody has who is trusted, and for a statement about something else.
    """
    said, made = properties.get(STATEMENT, ""), properties.get(SIGNATURE, "")
    if not (said and made):
        raise CCImagesError("it is not signed", reason=Reason.SIGNATURE)
    who = signing.signer(said, made, trusted)
    algorithm, value = digest
    try:
        about = digests(said, algorithm)
        if value not in ([about.get(file)] if file else about.values()):
            raise ValueError("what is signed is about other bytes, or another image")
        version, architecture = identity(said)
        if version != properties.get("build-version", "") or arch not in ("", architecture):
            raise ValueError("what is signed is about another version, or another architecture")
    except ValueError as error:
        raise CCImagesError(f"the signature is refused: {error}", reason=Reason.SIGNATURE) from error
    return who
