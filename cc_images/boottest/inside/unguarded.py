"""Servers of a container that let everybody in: of VNC, and notebook servers.

They are asked as any client asks them, by ports of TCP on loopback. Runs beside `container.py` with the standard
library only; knows nothing of cc_images.
"""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress

PATIENCE = 2.0
"""Seconds that a server has for its first words, and for each answer."""
MOST = 1 << 16
"""Bytes of an answer that are read."""
VNC = re.compile(rb"RFB 003\.(\d{3})\n")
NONE = 1
"""The security type by which no password is asked for; see RFC 6143, 7.2.1."""
LISTED = b"GET /api/contents HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
"""What a notebook server answers only to who has its token or password."""


def unguarded(ports: list[str]) -> list[str]:
    """Return the servers on these ports, such as `8888/tcp`, that ask for no password."""
    found = []
    for each in ports:
        number, _, protocol = each.partition("/")
        if protocol != "udp" and (kind := _open(int(number))):
            found.append(f"the {kind} server on port {number}")
    return found


def _open(port: int) -> str:
    """Return what kind of server lets everybody in; nothing for one that does not, or that nobody here knows."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", port))  # create_connection would need modules that the image has not
        try:
            first = connection.recv(len(b"RFB 003.008\n"))
        except TimeoutError:
            return "notebook" if _lists(_answer(connection)) else ""
        if version := VNC.fullmatch(first):
            connection.sendall(first)
            return "VNC" if _takes_all(connection, int(version[1])) else ""
    return ""


def _takes_all(connection: socket.socket, version: int) -> bool:
    """Say whether a VNC server asks for nothing: before 3.7 it names one way of its own, later all that it takes."""
    if version < 7:
        return _read(connection, 4) == NONE.to_bytes(4, "big")
    count = _read(connection, 1)
    return NONE in _read(connection, count[0]) if count else False


def _read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := connection.recv(size - len(found))):
        found += more
    return found


def _answer(connection: socket.socket) -> bytes:
    connection.sendall(LISTED)
    return _read(connection, MOST)


def _lists(answer: bytes) -> bool:
    """Say whether an answer is the folder of a notebook server."""
    head, _, body = answer.partition(b"\r\n\r\n")
    with suppress(ValueError):
        said = json.loads(body)
        return head.split()[1:2] == [b"200"] and isinstance(said, dict) and said.get("type") == "directory"
    return False
