"""Throw-away certificates for services on loopback, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

LOOPBACK = "DNS:localhost,IP:127.0.0.1"


def certificate(folder: Path, name: str = "service", names: str = LOOPBACK) -> tuple[Path, Path]:
    """Make a certificate that signs itself, for a service of these names (DNS:… or IP:…), and its key."""
    made = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-out", made[0], "-keyout", made[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return made
