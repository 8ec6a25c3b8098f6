"""A guest: a machine in QEMU that runs an image, watched from outside and asked through ssh.

The image is never written to. The machine has a NoCloud seed with a one-time key and a random host name, and a network
of its own: unless it is asked for, nothing but ssh from this host passes. Its folder holds the key, the seed and
`serial.log`; the guest ends with the block that started it, or with cc-images, however that ends.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.boottest.console import Console
from cc_images.boottest.qemu import Machine, comma
from cc_images.errors import CCImagesError, Reason
from cc_images.host import environment as host_environment
from cc_images.host import process
from cc_images.model.catalog import Contract, Format, Source
from cc_images.model.contract import port
from cc_images.model.plain_text import clean
from cc_images.model.stop import Stop

PORTS, START = 3, 0.5
"""How many ports are tried, and the seconds in which QEMU says that one is taken."""

LOOK = 0.25
"""Seconds between two looks at what happens."""

SERIAL = "ttyS0"
"""The console of a ramdisk that says nothing of one."""

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Drive:
    """The image of a guest: a disk, or a ramdisk, which has its kernel apart."""

    image: Path
    format: Format
    kernel: Path | None = None

    def argv(self, console: str) -> list[str]:
        """Return QEMU's options; nothing that the guest writes gets to a disk."""
        if self.kernel is not None:
            words = "-append", f"console={console or SERIAL}"
            return ["-kernel", str(self.kernel), "-initrd", str(self.image), *words]
        disk = f"format={self.format.qemu},file={comma(self.image)}"
        drive = ("-drive", f"id=disk,if=none,snapshot=on,cache=unsafe,{disk}")
        return [*drive, "-device", "virtio-blk-pci,drive=disk,bootindex=1"]


class Guest:
    """A machine that runs an image. Use it as a context manager; the folder must be empty or absent."""

    def __init__(
        self,
        machine: Machine,
        drive: Drive,
        folder: Path,
        *,
        contract: Contract,
        network: bool = False,
        socket: Path | None = None,
    ) -> None:
        self.machine = machine
        self.contract = contract
        self.host_name = f"cc-{secrets.token_hex(4)}"
        self.folder = folder
        self.serial = folder / "serial.log"
        self.console = Console()
        self._drive, self._network, self._socket = drive, network, socket
        self._read: dict[Path, int] = {}
        self.heard = 0.0
        """Seconds since power-on at which the console last printed anything."""

    def __enter__(self) -> Guest:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.serial.touch()
        seed = self._seed()
        for _ in range(PORTS):
            self._start(seed)
            if not self._lost_its_port():
                break
        return self

    def _start(self, seed: Path | None) -> None:
        self.port = _free_port()
        told = [] if seed is None else [
            *("-drive", f"id=seed,if=none,readonly=on,format=raw,file={comma(seed)}"),
            *("-device", "virtio-blk-pci,drive=seed"),
        ]  # fmt: skip
        command = [
            *self.machine.argv(self.folder),
            *self._ports(),
            *("-chardev", self._console(), "-serial", "chardev:serial", "-monitor", "none", "-boot", "strict=on"),
            *self._drive.argv(self.contract.console),
            *told,
            *("-netdev", f"user,id=net,restrict={'off' if self._network else 'on'},"
              f"hostfwd=tcp:127.0.0.1:{self.port}-:22"),
            *("-device", "virtio-net-pci,netdev=net,romfile="),
        ]  # fmt: skip
        self._process = process.start(command, env=self._environment(), log=self.folder / "qemu.log")
        self._began, self._stolen, self.heard = time.monotonic(), stolen(), 0.0

    def _ports(self) -> list[str]:
        """Return the serial ports before the console's, on which firmware and boot loader may speak."""
        return [
            word for each in range(port(self.contract)) for word in ("-serial", f"file:{comma(self._port_log(each))}")
        ]

    def _port_log(self, number: int) -> Path:
        return self.folder / f"port{number}.log"

    def _console(self) -> str:
        """Return where the serial console goes: to the log, and to a socket for a person if there shall be one."""
        if self._socket is None:
            return f"file,id=serial,path={comma(self.serial)}"
        return f"socket,id=serial,path={comma(self._socket)},server=on,wait=off,logfile={comma(self.serial)}"

    def _lost_its_port(self) -> bool:
        """Say whether another program has taken the port in between."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(START)
            return "host forwarding" in (self.folder / "qemu.log").read_text(errors="replace")
        return False

    def __exit__(self, *exception: object) -> None:
        process.end(self._process)

    @property
    def now(self) -> float:
        """Seconds since power-on."""
        return time.monotonic() - self._began

    @property
    def running(self) -> bool:
        """Whether the machine is on."""
        return self._process.poll() is None

    def look(self) -> None:
        """Read what the console has printed since the last look."""
        ports = [self._port_log(each) for each in range(port(self.contract))]
        for path in (self.folder / "firmware.log", *ports, self.serial):
            if path.exists():
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    raw = file.read()
                    self._read[path] = file.tell()
                if raw:
                    self.heard = self.now
                    self.console.feed(raw, self.now)

    @property
    def starved(self) -> float:
        """Seconds since power-on in which the machine could have gone on but had no core.

        The longest that one of QEMU's threads stood in the queue (the kernel's sched-stats.rst), and what
        the host of this host took away from each core.
        """
        waited = 0
        for thread in Path(f"/proc/{self._process.pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError, IndexError):
                waited = max(waited, int(thread.read_text().split()[1]))
        return min(self.now, waited / 1e9 + max(0.0, stolen() - self._stolen))

    def tail(self, lines: int = 40) -> tuple[str, ...]:
        """Return the last lines of the serial log."""
        text = clean(self.serial.read_bytes()[-20_000:])
        return tuple([line for line in text.splitlines() if line.strip()][-lines:])

    def said_by_qemu(self) -> str:
        """Return the last line that QEMU itself has printed."""
        lines = (self.folder / "qemu.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it printed nothing"

    def ssh_argv(self, *words: str) -> list[str]:
        """Return the command that logs in."""
        options = {
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "LogLevel": "ERROR",
            "ConnectTimeout": "60",
        }
        chosen = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        key = str(self.folder / "key")
        return [
            "ssh",
            "-F",
            "/dev/null",
            "-i",
            key,
            "-p",
            str(self.port),
            *chosen,
            *words,
            *("-l", self.contract.user, "--", "127.0.0.1"),
        ]

    def ask(self, script: str, timeout: float, stop: Stop) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root, or as the user where that may not become root; `timeout` is in seconds."""
        remote = "if sudo -n true 2> /dev/null; then exec sudo -n sh -s; else exec sh -s; fi"
        argv = [*self.ssh_argv("-o", "BatchMode=yes", "-T"), remote]
        with self.folder.joinpath("script").open("w+") as text:
            text.write(script)
            text.seek(0)
            asked = subprocess.Popen(
                argv, env=self._environment(), stdin=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                errors="replace", start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + timeout
        while True:
            with suppress(subprocess.TimeoutExpired):
                output, errors = asked.communicate(timeout=LOOK)
                return subprocess.CompletedProcess(argv, asked.returncode, output, errors)
            if stop.is_set() or time.monotonic() > deadline:
                asked.kill()
                output, _ = asked.communicate()
                return subprocess.CompletedProcess(argv, 255, output, f"no answer in {timeout:.0f} s")

    def _environment(self) -> dict[str, str]:
        # QEMU writes what the guest writes to a file below TMPDIR
        return host_environment.plain(TMPDIR=str(self.folder))

    def _seed(self) -> Path | None:
        """Make the key and the disk that tells cloud-init about it, if the image takes a seed."""
        key = self.folder / "key"
        environment = self._environment()
        process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "boot-test", "-f", str(key)], env=environment)
        files = self.folder / "seed"
        files.mkdir()
        public = key.with_suffix(".pub").read_text().strip()
        label = SEEDS[self.contract.source](files, self.host_name, public)
        if not label:
            return None
        disk = self.folder / "seed.iso"
        tool = next(each for each in ("genisoimage", "xorrisofs", "mkisofs") if shutil.which(each))
        process.run([tool, "-quiet", "-V", label, "-r", "-J", "-o", str(disk), str(files)], env=environment)
        return disk


def _no_cloud(files: Path, host: str, key: str) -> str:
    (files / "user-data").write_text(f"#cloud-config\nssh_authorized_keys:\n  - {key}\n")
    (files / "meta-data").write_text(f"instance-id: {host}\nlocal-hostname: {host}\n")
    return "cidata"


def _config_drive(files: Path, host: str, key: str) -> str:
    folder = files / "openstack/latest"
    folder.mkdir(parents=True)
    told = {"uuid": host, "name": host, "hostname": host, "public_keys": {"boot-test": key}}
    (folder / "meta_data.json").write_text(json.dumps(told))
    (folder / "user_data").write_text("#cloud-config\n{}\n")
    return "config-2"


SEEDS: Mapping[Source | None, Callable[[Path, str, str], str]] = {
    Source.NOCLOUD: _no_cloud,
    Source.CONFIG_DRIVE: _config_drive,
    Source.NONE: lambda files, host, key: "",
    None: _no_cloud,
}
"""The writer of a seed's folder, and the label of its file system, by cloud-init's documents of the source."""


def stolen() -> float:
    """Return the seconds that the host of this host has taken away from each core since it is up; see proc(5)."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / TICKS / (os.cpu_count() or 1)
    return 0.0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def require(missing: Sequence[str]) -> None:
    """Raise CCImagesError for what a boot test lacks on this host."""
    if missing:
        raise CCImagesError(
            "missing on this host for a boot test: " + ", ".join(missing),
            hint="`make setup` installs it for amd64 on Debian and Ubuntu; --no-boot-test pushes without a test",
            reason=Reason.MISSING_TOOL,
        )
