"""Images of registries, by skopeo: how it is to speak to one, and an image as an archive.

Credentials are those of the user's own containers' tools (containers-auth.json); they are never arguments.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment, process
from cc_images.model.catalog import Download

SCHEME = "docker://"

TIMEOUT = 3600.0
"""Seconds that an image may take."""

_LOOPBACK = re.compile(r"docker://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?/")


def tls(address: str) -> list[str]:
    """Return the option by which a registry on loopback is asked by HTTP, too."""
    return ["--tls-verify=false"] if _LOOPBACK.match(address) else []


@contextmanager
def archive(artifact: Download) -> Iterator[Path]:
    """Fetch an image by its digest; the archive is gone with the context. Raises CCImagesError."""
    arch = artifact.filename.partition(".")[0]
    insecure = [each.replace("--", "--src-") for each in tls(artifact.url)]
    with tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
        target = Path(folder) / "image.tar"
        command = ["skopeo", "copy", "--quiet", "--override-os", "linux", "--override-arch", arch, *insecure]
        try:
            process.run([*command, artifact.url, f"oci-archive:{target}"], env=environment.whole(), timeout=TIMEOUT)
        except process.CommandFailed as error:
            said = next(iter(reversed(error.tail)), "")
            raise CCImagesError(
                f"{artifact.url.removeprefix(SCHEME)} cannot be fetched: {said}",
                hint="check its name in the Containerfile; `skopeo login` gives credentials",
                reason=Reason.FETCH,
                temporary="manifest unknown" not in said and "unauthorized" not in said,
            ) from error
        yield target
