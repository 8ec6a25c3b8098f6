"""Signatures of images as Glance checks them against certificates in a key store, such as Barbican's.

Rules: Glance's administrator guide, "Image Signature Verification": the signature is over the digest of the bytes, in
base64; RSA keys pad by PSS with the longest salt, others are of elliptic curves.
"""

from __future__ import annotations

import base64
from pathlib import Path

from cc_images.errors import CCImagesError, Reason

METHOD = "SHA-512"

CURVES = frozenset({"secp384r1", "secp521r1", "sect409k1", "sect409r1", "sect571k1", "sect571r1"})
"""Elliptic curves that Glance's library for signatures, cursive, knows."""


def image_signature(sha512: str, key: Path) -> tuple[str, str]:
    """Return the type of a private key in a PEM file, and its signature over bytes with this digest.

    Raises CCImagesError for a key that cannot be used.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        raise _unusable(key, error.strerror or "it cannot be read") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(key, "it is no private key in PEM without a passphrase") from error
    digest, hashed = bytes.fromhex(sha512), Prehashed(SHA512())
    if isinstance(private, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(SHA512()), padding.PSS.MAX_LENGTH)
        return "RSA-PSS", base64.b64encode(private.sign(digest, pss, hashed)).decode()
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        made = private.sign(digest, ec.ECDSA(hashed))
        return f"ECC_{private.curve.name.upper()}", base64.b64encode(made).decode()
    raise _unusable(key, f"Glance knows RSA, and of elliptic curves {', '.join(sorted(CURVES))}")


def _unusable(key: Path, why: str) -> CCImagesError:
    return CCImagesError(
        f"the key {key} signs no images: {why}",
        hint="correct `image-signature` of the site in sites.yaml",
        reason=Reason.SIGNATURE,
    )
