"""A program that runs in a cell: what it prints, whether it listens, how it ends.

Runs beside `container.py` with the standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cc_images.boottest.inside import accounts, cell
else:  # a script has no package
    import accounts
    import cell

Facts = dict[str, Any]

KEPT = 1 << 16
"""Bytes of output that are kept: the last ones."""
LOOK = 0.05
GREETING = 10.0
"""Seconds that a server has for its first words."""
LISTENING = {"tcp": "0A", "udp": "07"}
"""The states of sockets that wait for others, in /proc/net; see the kernel's tcp_states.h."""


class Started:
    """A process of the cell, and what it prints."""

    def __init__(self, argv: list[str], user: Facts, folder: str, environment: dict[str, str],
                 text: str = "", first: bool = False) -> None:  # fmt: skip
        """Start it, with a text as its standard input; the first one of a cell makes its /proc, see `cell.proc`.

        Raises OSError for what cannot be started.
        """
        self.began = time.monotonic()
        self.output = b""
        self.code: int | None = None
        self._loud = not text
        self._from, into = os.pipe()
        told, tell = os.pipe()
        given = os.memfd_create("words")
        os.write(given, text.encode())
        os.lseek(given, 0, os.SEEK_SET)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                if first:
                    cell.proc()
                os.dup2(given if text else os.open("/dev/null", os.O_RDONLY), 0)
                os.dup2(into, 1)
                os.dup2(into, 2)
                cell.become(argv, user, folder, environment)
            except OSError as error:
                os.write(tell, (error.strerror or str(error)).encode())
            os._exit(127)
        for each in (into, tell, given):
            os.close(each)
        os.set_blocking(self._from, False)
        with os.fdopen(told, "rb") as file:
            if trouble := file.read():
                os.waitpid(self.pid, 0)
                raise OSError(0, trouble.decode(errors="replace"))

    def read(self) -> None:
        """Take what it has printed; the log gets it, too."""
        while select.select([self._from], [], [], 0)[0] and (chunk := os.read(self._from, 1 << 16)):
            self.output = (self.output + chunk)[-KEPT * 64 if not self._loud else -KEPT :]
            if self._loud:
                os.write(1, chunk)

    def alive(self) -> bool:
        """Say whether it still runs."""
        self.read()
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                self.read()
        return self.code is None

    def watched(self, ports: list[str], limit: float) -> Facts:
        """Wait until it is over, or listens on all its ports, or the time is over."""
        listens = False
        while self.alive() and not listens and time.monotonic() - self.began < limit:
            listens = bool(ports) and not silent(ports)
            time.sleep(LOOK)
        listens = listens and self.code is None
        late = self.code is None and not listens
        said: Facts = {"code": self.code, "listens": listens, "late": late, "seconds": time.monotonic() - self.began}
        return said | {"silent": silent(ports) if late else ports if not listens else []}

    def answers(self, limit: float, beside: Started | None = None) -> str:
        """Wait for its end; return what it has printed. What runs beside is read meanwhile."""
        while self.alive() and time.monotonic() - self.began < limit:
            if beside is not None:
                beside.alive()
            time.sleep(LOOK)
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
        return self.output.decode(errors="replace")

    def ended(self, grace: float) -> Facts:
        """End it: by SIGTERM, and when it does not heed that, by SIGKILL, with all that is in its cell."""
        asked, heeded, handled = time.monotonic(), True, True
        if self.alive():
            handled = heeds(self.pid)
            grace = grace if handled else 0.0
            os.kill(self.pid, signal.SIGTERM)
            while self.alive() and time.monotonic() - asked < grace:
                time.sleep(LOOK)
            if heeded := not self.alive():
                self.read()
            else:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        return {"output": self.output.decode(errors="replace"), "heeded": heeded, "handled": handled}


def heeds(process: int) -> bool:
    """Say whether the first process handles SIGTERM: the kernel keeps what it does not handle from a PID 1."""
    number = process if os.path.lexists("/proc/self/stat") else 1  # the holder is in the sandbox's /proc alone
    found = [line.split()[1] for line in accounts.lines(f"/proc/{number}/status") if line.startswith("SigCgt:")]
    return not found or bool(int(found[0], 16) >> (signal.SIGTERM - 1) & 1)


def silent(ports: list[str]) -> list[str]:
    """Return the ports on which nothing listens."""
    found = []
    for each in ports:
        number, _, protocol = each.partition("/")
        rows = [line.split() for kind in (protocol, f"{protocol}6") for line in accounts.lines(f"/proc/1/net/{kind}")]
        wanted, state = f":{int(number):04X}", LISTENING.get(protocol, "0A")
        if not any(len(row) > 3 and row[1].endswith(wanted) and row[3] == state for row in rows):
            found.append(each)
    return found


def greeting(port: str) -> str:
    """Return the first words of a server on a port of TCP, empty for one that says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(GREETING)
        try:
            connection.connect(("127.0.0.1", int(port.partition("/")[0])))
            return connection.recv(256).decode(errors="replace")
        except OSError:
            return ""
