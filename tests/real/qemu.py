"""Boot an image in QEMU and log in, to show once that it is a usable cloud image."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 600.0
"""Seconds until a boot has failed; software emulation takes about 80 on a quiet machine."""

FIRMWARE = (
    (Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")),
    (Path("/usr/share/OVMF/OVMF_CODE.fd"), Path("/usr/share/OVMF/OVMF_VARS.fd")),
)


@dataclass
class Guest:
    """A running image with a NoCloud seed that holds a fresh key."""

    image: Path
    folder: Path
    uefi: bool

    def __enter__(self) -> Guest:
        self.folder.mkdir()
        key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        seed = self.folder / "seed"
        seed.mkdir()
        public = key.with_suffix(".pub").read_text().strip()
        (seed / "user-data").write_text(f"#cloud-config\nssh_authorized_keys: ['{public}']\n")
        (seed / "meta-data").write_text("instance-id: i-1\nlocal-hostname: probe\n")
        iso = self.folder / "seed.iso"
        subprocess.run(["genisoimage", "-quiet", "-V", "cidata", "-r", "-J", "-o", iso, seed], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.serial = self.folder / "serial.log"
        firmware = []
        if self.uefi:
            code, variables = next(pair for pair in FIRMWARE if pair[0].exists())
            own = self.folder / "vars.fd"
            shutil.copy(variables, own)
            firmware = [
                *("-drive", f"if=pflash,format=raw,readonly=on,file={code}"),
                *("-drive", f"if=pflash,format=raw,file={own}"),
            ]
        self.process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024"),
                *("-smp", str(min(2, os.cpu_count() or 1)), "-display", "none", "-monitor", "none", "-no-reboot"),
                *("-serial", f"file:{self.serial}", "-snapshot"),
                *firmware,
                *("-drive", f"file={self.image},format=qcow2,if=virtio"),
                *("-drive", f"file={iso},format=raw,if=virtio,readonly=on"),
                *("-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
                *("-device", "virtio-rng-pci"),
            ],
            stdin=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()

    def wait_for_ssh(self) -> float:
        """Wait until cloud-init has finished and ssh lets the key in; return the seconds since power-on."""
        began = time.monotonic()
        while time.monotonic() - began < TIMEOUT:
            text = self.serial.read_text(errors="replace") if self.serial.exists() else ""
            assert "Kernel panic" not in text, text[-2000:]
            assert self.process.poll() is None, text[-2000:]
            if re.search(r"Cloud-init v.* finished", text) and self.ssh("true").returncode == 0:
                return time.monotonic() - began
            time.sleep(1)
        raise AssertionError(f"no login after {TIMEOUT:.0f} s:\n{text[-3000:]}")

    def ssh(self, command: str, user: str = "cc") -> subprocess.CompletedProcess[str]:
        """Run a command in the guest."""
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "ConnectTimeout": "20",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return subprocess.run(
            ["ssh", "-i", self.folder / "key", "-p", str(self.port), *words, f"{user}@127.0.0.1", command],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def said(self, command: str) -> str:
        """Return a command's output; a failing one fails the test."""
        answer = self.ssh(command)
        assert answer.returncode == 0, f"{command}: {answer.stderr}{answer.stdout}"
        return answer.stdout.strip()
