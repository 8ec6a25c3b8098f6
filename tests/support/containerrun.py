"""A finished image as a container, by buildah: its entry point or a shell, without a network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Storage:
    """A storage of containers of its own below a folder; `close` empties it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        conf = folder / "storage.conf"
        conf.write_text(f'[storage]\ndriver = "overlay"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/storage"\n')
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "CONTAINERS_STORAGE_CONF": str(conf)}

    def start(self, archive: Path) -> str:
        """Return the name of a new container of an OCI archive."""
        return self._said("buildah", "from", "--quiet", f"oci-archive:{archive}").strip()

    def started(self, image: str) -> str:
        """Return the name of a new container of an image that the storage has."""
        return self._said("buildah", "from", "--quiet", "--pull-never", image).strip()

    def mounted(self, name: str) -> Path:
        """Mount a container's tree; return where it is until `close`."""
        return Path(self._said("buildah", "mount", name).strip())

    def run(self, name: str, *words: str) -> str:
        """Return what a command prints there; the container's variables are those of its image."""
        isolated = ("unshare", "--net", "buildah", "run", "--isolation", "chroot", "--network", "host")
        return self._said(*isolated, name, "--", *words)

    def close(self) -> None:
        """Remove all containers and images."""
        self._said("buildah", "rm", "--all")
        self._said("buildah", "rmi", "--all", "--force")

    def _said(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, check=False, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
