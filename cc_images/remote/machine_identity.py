"""The identity of a new machine: its ssh host key, made at the head, by which nobody else can pose as the machine."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from cc_images.host import environment, process


def identity(name: str, hostname: str = "") -> tuple[str, str]:
    """Return a new public host key, and the user data that gives a machine its private half. Raises CCImagesError.

    The user data is for cloud-init, which every image with ssh has; it is a secret of that one machine.
    """
    with tempfile.TemporaryDirectory(prefix="cc-images-key-") as folder:
        path = Path(folder, "key")
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
        process.run(words, env=environment.plain(), timeout=30)
        private, public = path.read_text(), path.with_suffix(".pub").read_text().strip()
    said = {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": private, "ed25519_public": public},
        **({"hostname": hostname} if hostname else {}),
    }
    return public, f"#cloud-config\n{json.dumps(said)}\n"


def known_host(name: str, public: str, folder: Path) -> tuple[str, ...]:
    """Write who a machine is; return the options by which ssh talks to that machine and to no other."""
    path = folder / name
    path.write_text(f"{name} {' '.join(public.split()[:2])}\n")
    return (
        *("-o", f"UserKnownHostsFile={path}", "-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", "StrictHostKeyChecking=yes", "-o", f"HostKeyAlias={name}"),
    )
