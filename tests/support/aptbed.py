"""A Debian repository on loopback with one package, signed, whose versions a test releases; it may go down."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType


class AptBed:
    """Repositories below `folder`, by name; each has the package `news` in its newest release."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "www"
        self._keys = folder / "keys"
        self._keys.mkdir(parents=True, mode=0o700)
        self._root.mkdir()
        self._gpg("--passphrase", "", "--quick-generate-key", "bed@example.org", "ed25519", "sign", "never")
        self.down = False
        bed = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if bed.down:
                    self.send_error(503)
                else:
                    super().do_GET()

            do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

            def log_message(self, *words: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(self._root)))

    def __enter__(self) -> AptBed:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        subprocess.run(["gpgconf", "--homedir", self._keys, "--kill", "gpg-agent"], check=False)

    def address(self, name: str) -> str:
        """Return the address of a repository."""
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def release(self, name: str, version: str) -> None:
        """Put a version of the package into a repository and sign the index anew."""
        root = self._root / name
        tree = root / "tree"
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: news\nVersion: {version}\nArchitecture: all\nMaintainer: Bed <bed@example.org>\n"
            "Description: what is new\n"
        )
        package = root / f"news_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True, capture_output=True)
        control = (tree / "DEBIAN" / "control").read_text()
        content = package.read_bytes()
        paragraph = (
            f"{control}Filename: {package.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
        lines = []
        for arch in ("amd64", "all"):
            index = root / "dists" / "stable" / "main" / f"binary-{arch}"
            index.mkdir(parents=True, exist_ok=True)
            for file, text in ((index / "Packages", paragraph.encode()), (index / "Packages.gz", b"")):
                file.write_bytes(text or gzip.compress(paragraph.encode(), mtime=0))
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                lines.append(f" {digest} {file.stat().st_size} {file.relative_to(root / 'dists' / 'stable')}")
        release = root / "dists" / "stable" / "Release"
        release.write_text(
            "Origin: Bed\nSuite: stable\nCodename: stable\nComponents: main\nArchitectures: amd64 all\n"
            "Date: Mon, 01 Jan 2024 00:00:00 UTC\nSHA256:\n" + "\n".join(lines) + "\n"
        )
        self._gpg("--output", str(release.with_name("InRelease")), "--clearsign", str(release))

    def _gpg(self, *words: str) -> None:
        command = ["gpg", "--homedir", str(self._keys), "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]
        subprocess.run([*command, *words], check=True, capture_output=True)
