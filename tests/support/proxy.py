"""Proxies on loopback: one injects faults between cc-images and a service, and one makes tunnels by CONNECT."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Forwards to a port of loopback. The faults hold for each connection and may be changed while it runs.

    `cut_after` and `stall_after` count the bytes that a client has sent, `answer_cut_after` those of the answer;
    `delay` is in seconds, before each answer.
    """

    port: int
    cut_after: int | None = None
    stall_after: int | None = None
    answer_cut_after: int | None = None
    delay: float = 0.0
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    connections: int = 0
    _closed: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()
        self.listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        sent = 0
        try:
            while chunk := client.recv(65536):
                if self.cut_after is not None and sent + len(chunk) > self.cut_after:
                    break
                if self.stall_after is not None and sent + len(chunk) > self.stall_after:
                    self._closed.wait(600)
                    break
                server.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        for end in (client, server):
            end.close()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        sent, most = 0, self.answer_cut_after
        try:
            while chunk := server.recv(65536):
                time.sleep(self.delay)
                client.sendall(chunk if most is None else chunk[: most - sent])
                sent += len(chunk)
                if most is not None and sent >= most:
                    break
        except OSError:
            pass
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class Tunnels:
    """An HTTP proxy of which a client is let out: whatever host it names is a port of loopback.

    `refuses` is the status that it answers with instead. `heads` are the requests that it has got, `passed` is what
    went through from clients, as the proxy can see it.
    """

    port: int
    refuses: str = ""
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    heads: list[str] = field(default_factory=list)
    passed: list[bytes] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self) -> Tunnels:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        with client, suppress(OSError):
            while b"\r\n\r\n" not in head and (chunk := client.recv(65536)):
                head += chunk
            self.heads.append(head.decode())
            if self.refuses or not head.startswith(b"CONNECT "):
                client.sendall(f"HTTP/1.1 {self.refuses or '400 Bad Request'}\r\ncontent-length: 0\r\n\r\n".encode())
                return
            with socket.create_connection(("127.0.0.1", self.port)) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self._copy, args=(server, client, None), daemon=True)
                back.start()
                self._copy(client, server, self.passed)
                back.join()

    @staticmethod
    def _copy(source: socket.socket, to: socket.socket, seen: list[bytes] | None) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                if seen is not None:
                    seen.append(chunk)
                to.sendall(chunk)
        with suppress(OSError):
            to.shutdown(socket.SHUT_WR)
