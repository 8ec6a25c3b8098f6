"""Images of registries, by skopeo: how it is to speak to one, and an image as an archive.

Credentials are those of the user's own containers' tools (containers-auth.json); they are never arguments.
"""

from __future__ import annotations

import re
import tempfile
import threading
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
def archive(artifact: Download, folder: Path | None, stop: threading.Event | None) -> Iterator[Path]:
    """Fetch an image by its digest into a folder; the archive is gone with the context.

    Raises CCImagesError, and Interrupted when the run is stopped.
    """
    arch = artifact.filename.partition(".")[0]
    insecure = [each.replace("--", "--src-") for each in tls(artifact.url)]
    with tempfile.TemporaryDirectory(prefix="image-", dir=folder) as place:
        target = Path(place) / "image.tar"
        command = [
            "skopeo",
            "--tmpdir",
            place,
            "copy",
            "--quiet",
            "--override-os",
            "linux",
            "--override-arch",
            arch,
            *insecure,
        ]
        try:
            words = [*command, artifact.url, f"oci-archive:{target}"]
            process.run(words, env=environment.whole(), timeout=TIMEOUT, stop=stop)
        except process.CommandFailed as error:
            said = next(iter(reversed(error.tail)), "")
            raise CCImagesError(
                f"{artifact.url.removeprefix(SCHEME)} cannot be fetched: {said}",
                hint="check its name in the Containerfile; `skopeo login` gives credentials",
                reason=Reason.FETCH,
                temporary="manifest unknown" not in said and "unauthorized" not in said,
            ) from error
        yield target
