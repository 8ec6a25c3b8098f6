"""Servers that let everybody in, and those that do not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cc_images.boottest.inside.unguarded import LISTED, unguarded

FOLDER = b'{"name": "", "path": "", "type": "directory", "content": []}'
FOUND = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"


@contextmanager
def server(*answers: bytes, asked: list[bytes] | None = None) -> Iterator[int]:
    """Serve one connection on loopback: each answer but the first waits for words of the client."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for number, each in enumerate(answers):
                    if number:
                        heard = connection.recv(1 << 10)
                        (asked if asked is not None else []).append(heard)
                    connection.sendall(each)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ((b"RFB 003.008\n", b"\x02\x02\x01"), "VNC"),
        ((b"RFB 003.008\n", b"\x01\x02"), ""),
        ((b"RFB 003.008\n", b"\x00\x00\x00\x00\x03no!"), ""),
        ((b"RFB 003.003\n", b"\x00\x00\x00\x01"), "VNC"),
        ((b"RFB 003.003\n", b"\x00\x00\x00\x02"), ""),
        ((b"RFB 003.008\n", b""), ""),
        ((b"", FOUND + FOLDER), "notebook"),
        ((b"", FOUND + b'{"type": "file"}'), ""),
        ((b"", FOUND + b"[]"), ""),
        ((b"", FOUND + b"<html>"), ""),
        ((b"", FOUND.replace(b"200", b"403") + FOLDER), ""),
        ((b"", b""), ""),
        ((b"SSH-2.0-OpenSSH\r\n",), ""),
    ],
)
def test_a_server_is_known_by_what_it_answers(answers: tuple[bytes, ...], kind: str) -> None:
    asked: list[bytes] = []
    with server(*answers, asked=asked) as port:
        found = unguarded([f"{port}/tcp", f"{port}/udp"])
    assert found == ([f"the {kind} server on port {port}"] if kind else [])
    assert asked in ([], [answers[0] or LISTED])


def test_a_port_on_which_nothing_listens_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert unguarded([f"{port}/tcp"]) == []
