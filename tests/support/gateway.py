"""An HTTP gateway on loopback in front of a service, which answers in the service's place when a rule says so.

A rule gets method, path and the number of the call; it returns None, or an `Instead`.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Instead:
    """An answer in the place of the service's, before the service has the call or after it is done; 0 cuts."""

    status: int
    done: bool = False
    body: bytes = b"<html><h1>Bad Gateway</h1></html>"


Rule = Callable[[str, str, int], Instead | None]


class Gateway:
    """Stands in front of a port of loopback while it is entered. `calls` are those that came, in order."""

    def __init__(self, port: int, rule: Rule = lambda method, path, number: None) -> None:
        self.rule = rule
        self.calls: list[str] = []
        self.sent: list[int] = []
        """Bytes of the bodies that came, in order."""
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words: object) -> None: ...

            def _pass_on(self) -> None:
                gateway.calls.append(f"{self.command} {self.path.partition('?')[0]}")
                body = _body(self)
                gateway.sent.append(len(body))
                instead = gateway.rule(self.command, self.path, len(gateway.calls))
                if instead is not None and not instead.done:
                    self._answer(instead.status, instead.body, {})
                    return
                service = http.client.HTTPConnection("127.0.0.1", port)
                dropped = ("host", "transfer-encoding", "content-length")
                names = {name.lower(): name for name in self.headers if name.lower() not in dropped}
                headers = {name: ", ".join(self.headers.get_all(name, [])) for name in names.values()}
                service.request(self.command, self.path, body, headers)
                answer = service.getresponse()
                content = answer.read()
                service.close()
                if instead is not None:
                    self._answer(instead.status, instead.body, {})
                else:
                    self._answer(answer.status, content, dict(answer.headers))

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                if not status:
                    self.close_connection = True
                    with suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(status)
                for key, value in ({"Content-Type": "text/html"} | headers).items():
                    if key.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                        self.send_header(key, value)
                length = headers.get("Content-Length") if self.command == "HEAD" else str(len(body))
                if status != 204 and length:
                    self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(body if status != 204 and self.command != "HEAD" else b"")

            do_HEAD = do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Gateway:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._server.shutdown()
        self._server.server_close()


def _body(request: BaseHTTPRequestHandler) -> bytes:
    """Return the body of a request, which may come in chunks."""
    if "chunked" not in (request.headers.get("Transfer-Encoding") or ""):
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body
