"""What is at work on builder hosts behind a test's sshd, and how many works there ever were at a time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tests.support.sshbed import SshBed


def inhabitants(ssh: SshBed) -> dict[int, tuple[str, list[bytes]]]:
    """Return the processes of builder hosts: the name of the host, and the words of each."""
    found: dict[int, tuple[str, list[bytes]]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        homes = [Path(os.fsdecode(each[5:])) for each in variables if each.startswith(b"HOME=")]
        if homes and homes[0].parent == ssh.folder:
            found[int(process.name)] = homes[0].name, words
    return found


def works(ssh: SshBed) -> dict[int, str]:
    """Return the processes on builder hosts that do the work of an attempt, and the names of these hosts.

    A child that one of them has begun looks like it until it becomes another program; it is none.
    """
    found = {number: name for number, (name, words) in inhabitants(ssh).items() if b"--work" in words}
    return {number: name for number, name in found.items() if parent(number) not in found}


def parent(number: int) -> int:
    """Return the parent of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Census(threading.Thread):
    """Counts the works at a time: of one image there is never more than one."""

    def __init__(self, ssh: SshBed) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._ssh, self._over = ssh, threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, len(works(self._ssh)))

    def end(self) -> int:
        self._over.set()
        self.join()
        return self.most
