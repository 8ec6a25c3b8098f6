"""A real registry on loopback for tests: Debian's docker-registry, with its blobs in a folder."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.certificates import certificate

TOOLS = ("docker-registry", "skopeo")
REASON = "; ".join(f"needs {tool}" for tool in TOOLS if shutil.which(tool) is None)

CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/blobs}}, delete: {{enabled: {deletes}}}}}
http: {{addr: "127.0.0.1:{port}", relativeurls: true, secret: none{tls}}}
"""

USER, PASSWORD = "pusher", "not-a-secret"
HTPASSWD = "pusher:$2b$05$abcdefghijklmnopqrstuuVPNOToLP9MHdthRCXkVoiIF0qNKnk2G\n"


class RegistryBed:
    """A registry, while it is entered."""

    def __init__(self, folder: Path, *, deletes: bool = True, htpasswd: str = "", tls: bool = False) -> None:
        """Prepare a registry in a folder; `tls`: with a throw-away certificate, which `ca` has."""
        self.folder, self.port = folder, _free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.ca: Path | None = None
        secure = ""
        if tls:
            self.ca, key = certificate(folder, "registry")
            secure = f", tls: {{certificate: {self.ca}, key: {key}}}"
        text = CONFIG.format(folder=folder, port=self.port, deletes=str(deletes).lower(), tls=secure)
        if htpasswd:
            (folder / "htpasswd").write_text(htpasswd)
            text += f"auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}\n"
        (folder / "config.yml").write_text(text)

    def __enter__(self) -> RegistryBed:
        self._log = (self.folder / "log").open("ab")
        words = ["docker-registry", "serve", str(self.folder / "config.yml")]
        self._process = subprocess.Popen(words, stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self._opened(f"{self._top}/v2/").close()
                return self
            except urllib.error.HTTPError:
                return self  # it asks for a password
            except OSError:
                time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def __exit__(self, *exception: Any) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()

    @property
    def _top(self) -> str:
        return f"{'https' if self.ca else 'http'}://{self.host}"

    def _opened(self, asked: str | urllib.request.Request) -> Any:
        trust = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None
        return urllib.request.urlopen(asked, timeout=20, context=trust)

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def tags(self, repository: str) -> dict[str, str]:
        """Return the digests of tags; records are left out."""
        try:
            said = json.loads(self._get(f"{repository}/tags/list")[1])
        except urllib.error.HTTPError:
            return {}
        tags = [tag for tag in said["tags"] or [] if not tag.endswith(".entry")]
        return {tag: self._get(f"{repository}/manifests/{tag}")[0] for tag in tags}

    def _get(self, path: str) -> tuple[str, bytes]:
        kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
        asked = urllib.request.Request(f"{self._top}/v2/{path}", headers={"Accept": kinds})
        with self._opened(asked) as answer:
            return answer.headers.get("Docker-Content-Digest", ""), answer.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
