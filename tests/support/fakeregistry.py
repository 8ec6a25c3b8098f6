"""A registry of our own on loopback: blobs and manifests in memory, logins of both kinds, faults and redirects.

It stands where a real one does not: tokens, places for tokens and blobs elsewhere, answers that lie or end too soon.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD, TOKEN = "pusher", "not-a-secret", "a-token-of-the-tests"


@dataclass(frozen=True)
class Fault:
    """An answer in place of the right one, with a `body` of its own. `cut`: the right headers, and half of the body."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False
    body: bytes = b""


Rule = Callable[[str, str, int], Fault | None]


class FakeRegistry:
    """A registry while it is entered. `challenge` is what it answers to calls without a login; empty: needs none.

    `tls` is the files of a certificate and its key; without them it speaks HTTP.
    """

    def __init__(
        self,
        challenge: str = "",
        rule: Rule = lambda method, path, number: None,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.challenge, self.rule = challenge, rule
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.authorizations: list[str] = []
        """What came with each call."""
        self.scopes: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words: object) -> None: ...

            def _call(self) -> None:
                registry.calls.append(f"{self.command} {urlsplit(self.path).path}")
                registry.authorizations.append(self.headers.get("Authorization") or "")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = registry.rule(self.command, self.path, len(registry.calls)) or Fault()
                if fault.status or fault.headers:
                    self._send(fault.status, fault.body, dict(fault.headers))
                else:
                    self._send(*registry.answer(self.command, self.path, registry.authorizations[-1], body), fault.cut)

            def _send(self, status: int, body: bytes, headers: dict[str, str], cut: bool = False) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body[: len(body) // 2] if cut else body)

            do_GET = do_HEAD = do_POST = do_PUT = _call  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeRegistry:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Answer a call as the specification says."""
        where = urlsplit(path)
        asked = {key: values[0] for key, values in parse_qs(where.query).items()}
        if where.path == "/token":
            self.scopes.append(asked.get("scope", ""))
            return (200, json.dumps({"token": TOKEN}).encode(), {}) if authorization == basic() else (401, b"", {})
        if self.challenge and authorization != (f"Bearer {TOKEN}" if "Bearer" in self.challenge else basic()):
            said = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}).encode()
            return 401, said, {"WWW-Authenticate": self.challenge}
        kind, name = where.path.split("/")[-2:]
        if kind == "uploads" and method == "POST":
            return 202, b"", {"Location": f"{where.path}1?state=x"}
        if kind == "uploads":
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            if digest != asked["digest"]:
                return 400, b'{"errors": [{"code": "DIGEST_INVALID"}]}', {}
            self.blobs[digest] = body
            return 201, b"", {}
        if kind == "manifests" and method == "PUT":
            said = json.loads(body)
            if not all(each["digest"] in self.blobs for each in (said["config"], *said["layers"])):
                return 400, b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}', {}
            self.manifests[name] = body
            return 201, b"", {}
        found = {"blobs": self.blobs, "manifests": self.manifests}.get(kind, {"v2": b""}).get(name or "v2")
        media = {"Content-Type": json.loads(found)["mediaType"]} if kind == "manifests" and found else {}
        return (404, b"", {}) if found is None else (200, found, media)


def basic(user: str = USER, password: str = PASSWORD) -> str:
    """Return a header with a password."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
