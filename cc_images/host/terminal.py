"""The user's terminal, lent to a shell in a sandbox: a socket there, raw bytes both ways, the old settings after."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cc_images.host import environment


@contextmanager
def lent(place: Path) -> Iterator[None]:
    """Serve shells at a socket, one after the other, while the context lasts; see `toolbox/shells.py`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    folder = os.open(place.parent, os.O_PATH | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{place.name}")  # a path may be longer than addresses of sockets
        listener.listen(1)
        server = threading.Thread(target=_serve, args=(listener,), name="shells", daemon=True)
        server.start()
        yield
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        os.close(folder)
        place.unlink(missing_ok=True)


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        with line, suppress(OSError, ValueError):
            _lend(line)


def _lend(line: socket.socket) -> None:
    """Give the terminal to the shell at the other end until that ends."""
    while line.recv(1) != b"\n":
        pass
    size = shutil.get_terminal_size()
    said = {"rows": size.lines, "columns": size.columns, "term": environment.variable("TERM", "dumb")}
    line.sendall(json.dumps(said).encode() + b"\n")
    keyboard, screen, other = sys.stdin.fileno(), sys.stdout.fileno(), line.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard, termios.TCSADRAIN)  # keeps what was typed while no shell was there
        while True:
            ready, _, _ = select.select([keyboard, other], [], [])
            if other in ready:
                content = line.recv(4096)
                if not content:
                    return
                os.write(screen, content)
            if keyboard in ready:
                line.sendall(os.read(keyboard, 4096))
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
