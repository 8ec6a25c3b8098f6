"""A real sshd on loopback, and builder hosts behind it: folders with a store each, and a cc-images of this checkout."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.conftest import REPOSITORY

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or ""


ENTERED = ' && exec "$@"'


class SshBed:
    """An sshd that admits one key, for the user of the tests. `environment` is for the program that uses ssh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.environment: dict[str, str] = {}
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(command, check=True)
        (self.folder / "authorized").write_text((self.folder / "user.pub").read_text())
        host_key = " ".join((self.folder / "host.pub").read_text().split()[:2])
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {host_key}\n")
        server = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": f"{self.folder}/host",
            "AuthorizedKeysFile": f"{self.folder}/authorized",
            "PidFile": f"{self.folder}/pid",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "UsePAM": "no",
            "MaxStartups": "100",
        }
        (self.folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in server.items()))
        (self.folder / "ssh_config").write_text(
            f"Host *\n  Port {self.port}\n  IdentityFile {self.folder}/user\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known\n  StrictHostKeyChecking yes\n"
        )
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        _program(bin_folder / "ssh", f'exec {shutil.which("ssh")} -F {self.folder}/ssh_config "$@"')
        self.environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
        Path("/run/sshd").mkdir(exist_ok=True)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "sshd.log").open("ab") as log:
            self._server = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline, (self.folder / "sshd.log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server; its connections go on."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(60)
            self._server = None

    def interrupt(self, seconds: float, connections: bool = True) -> None:
        """End the server for some seconds, and all connections, unless these are to go on."""
        if connections:
            self.cut()
        self.stop()
        time.sleep(seconds)
        self.start()

    def cut(self) -> None:
        """End all connections that lead through the server."""
        me = str(os.getpid())
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if words.startswith("sshd: ") and folder.name != me and self._is_ours(folder):
                os.kill(int(folder.name), 9)

    def _is_ours(self, process: Path) -> bool:
        """Say whether a process descends from this server."""
        assert self._server is not None
        while process.name not in ("0", "1"):
            if process.name == str(self._server.pid):
                return True
            try:
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                return False
            process = Path("/proc") / parent
        return False

    def builder(self, name: str, first: str = "", **environment: str) -> str:
        """Return the entry of a builder host in builders.yaml; `environment` is that of its commands.

        `first` is a shell command that each of them runs before, in a mount namespace of its own.
        """
        folder = self.folder / name
        folder.mkdir()
        said = {"PYTHONPATH": str(REPOSITORY), "HOME": str(folder), **environment}
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in said.items())
        inside = f"exec unshare --mount sh -c {shlex.quote(first + ENTERED)} sh" if first else "exec"
        _program(
            folder / "cc-images", f'{exports}cd {folder}\n{inside} {shlex.quote(sys.executable)} -m cc_images "$@"'
        )
        return f"{name}: {{ssh: root@127.0.0.1, command: {folder}/cc-images, scratch: {folder}/store}}\n"

    def store(self, name: str) -> Path:
        """Return the store of a builder host."""
        return self.folder / name / "store"


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
