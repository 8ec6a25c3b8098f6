"""A stand-in for a cloud's compute host: each server gets an address and an sshd with the host key that it was given.

A server is a folder with a store of its own. When the cloud has it no more, its processes are killed, as by the end of
a machine; its folder stays, for questions.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.conftest import REPOSITORY
from tests.support.novabed import NovaBed
from tests.support.sshbed import SSHD, SshBed

PROGRAM = """\
#!/bin/sh
home={folder}/$(echo $SSH_CONNECTION | cut -d' ' -f3)
export HOME=$home CC_IMAGES_STORE=$home/store PYTHONPATH={repository}
mkdir -p $home && cd $home && exec {python} -m cc_images "$@"
"""


class ComputeHost:
    """Servers of a Nova that are on, by their ids. `command` is the cc-images on each, `made` their addresses."""

    def __init__(self, folder: Path, nova: NovaBed, ssh: SshBed, listed: Callable[[], Collection[str]]) -> None:
        self.folder = folder
        self.made: dict[str, str] = {}
        self.command = folder / "cc-images"
        self._nova, self._ssh, self._listed = nova, ssh, listed
        self._on: dict[str, subprocess.Popen[bytes]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.folder.mkdir()
        self.command.write_text(PROGRAM.format(folder=self.folder, repository=REPOSITORY, python=sys.executable))
        self.command.chmod(0o755)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(60)
        for each in [*self._on]:
            self._switch_off(each)

    def _run(self) -> None:
        while not self._over.wait(0.5):
            listed = self._listed()
            for gone in self._on.keys() - set(listed):
                self._switch_off(gone)
            if set(listed) - self._on.keys():
                first = len(self.made) + 1
                for each in self._nova.schedule(address=f"127.0.{first}.{{}}"):
                    self._switch_on(each["id"], each["address"], base64.b64decode(each["user_data"]).decode())

    def _switch_on(self, id: str, address: str, user_data: str) -> None:
        home = self.folder / address
        home.mkdir()
        key = home / "host"
        key.write_text(json.loads(user_data.removeprefix("#cloud-config\n"))["ssh_keys"]["ed25519_private"])
        key.chmod(0o600)
        options = {"ListenAddress": f"{address}:{self._ssh.port}", "HostKey": str(key), "PidFile": str(home / "pid")}
        words = [f"-o{name}={value}" for name, value in options.items()]
        configuration = (self._ssh.folder / "sshd_config").read_text().splitlines()
        (home / "sshd_config").write_text(
            "".join(f"{line}\n" for line in configuration if line.split()[0] not in options)
        )
        command = [SSHD, "-D", "-e", "-f", str(home / "sshd_config"), *words]
        with (home / "sshd.log").open("wb") as log:
            self._on[id] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        self.made[id] = address

    def _switch_off(self, id: str) -> None:
        """Kill everything that runs on a server."""
        mark = f"HOME={self.folder / self.made[id]}\0".encode()
        server = self._on.pop(id)
        server.kill()
        server.wait()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def processes(self) -> list[str]:
        """Return the processes of all servers."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"HOME={self.folder}/".encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found
