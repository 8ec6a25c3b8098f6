"""A network of a sandbox's own: a namespace with loopback alone, or with a way out through slirp4netns.

That program stands outside of the sandbox, connects to the world as any program of the host, and leaves the host's own
loopback out. The standard library only; knows nothing of cc_images.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cc_images.toolbox import kernel
else:
    import kernel

NAMESERVER = "10.0.2.3"
"""Where slirp4netns answers for the host's resolver."""

PATIENCE = 15_000
"""Milliseconds in which the way out must be there."""

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def enter() -> None:
    """Go into a network namespace of one's own, in which loopback works."""
    kernel.unshare(kernel.CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        known = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack("16sh22x", known)[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


class Outlet:
    """A way out for a network namespace that is not there yet; it ends when this process does.

    Made before this process has another PID namespace for its children: builds must not see the program.
    """

    def __init__(self, program: str, log: str) -> None:
        self._log = log
        """What the program says: a file."""
        wanted, self._wanted = os.pipe()
        self._ready, ready = os.pipe()
        leaving, self._leaving = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            for descriptor in (self._wanted, self._ready, self._leaving):
                os.close(descriptor)
            place = os.read(wanted, 256).decode()
            if not place:
                os._exit(0)
            os.set_inheritable(ready, True)
            os.set_inheritable(leaving, True)
            said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(said, 1)
            os.dup2(said, 2)
            options = ["--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={ready}"]
            os.execv(program, [program, *options, f"--exit-fd={leaving}", "--netns-type=path", place, "tap0"])
        for descriptor in (wanted, ready, leaving):
            os.close(descriptor)

    def open(self, process: int) -> None:
        """Give the network namespace of a process the way out. Raises OSError when that does not work."""
        os.write(self._wanted, f"/proc/{process}/ns/net".encode())
        poll = select.poll()
        poll.register(self._ready, select.POLLIN | select.POLLHUP)
        if not poll.poll(PATIENCE) or not os.read(self._ready, 1):
            with open(self._log) as said:
                last = (said.read().splitlines() or ["it said nothing"])[-1]
            raise OSError(0, f"slirp4netns gives no way out ({last}); `network: host` in images.yaml does without")

    def close(self) -> None:
        """End the way out."""
        os.close(self._wanted)
        os.close(self._leaving)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
