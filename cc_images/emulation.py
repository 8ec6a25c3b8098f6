"""Machines to boot images on: which QEMU, which firmware, and whether this host can speed them up.

Owns QEMU's command line for a machine. To add an architecture: its line in EMULATORS.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cc_images.errors import CCImagesError
from cc_images.files import write_json
from cc_images.model import Arch, Firmware, Json

MEMORY = "accelerators.json"
"""The file of a store in which it is kept whether hosts run guests accelerated."""

DAY = 86400.0
"""Seconds for which it is believed that guests do not run accelerated."""

PROBE_TIMEOUT = 20.0
"""Seconds that a guest of a few instructions gets; in software emulation it takes 0.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """How machines of one architecture are emulated."""

    program: str
    package: str
    machine: str
    cpu: str
    """What software emulates. Not simply the largest: what a processor has for nothing, emulation pays for.

    Such are arm64's pointer authentication; string instructions that guests take for fast (erms); a fifth level of page
    tables (la57); and more checks of each access (smap, smep, pku). `bench/boot.py` compares.
    """
    uefi: tuple[tuple[str, str], ...]
    """Firmware code and variables; the first pair that exists is used. Without variables it is one file for `-bios`."""
    uefi_package: str
    probe: bytes
    """A program that ends the machine, where the machine starts: a boot sector, or firmware."""
    probe_options: tuple[str, ...]
    probe_code: int
    """QEMU's exit code when the probe has run."""


# mov dx, 0xf4; mov al, 0x10; out dx, al; cli; hlt: QEMU's isa-debug-exit ends with (0x10 << 1) | 1
_BOOT_SECTOR = bytes.fromhex("baf400b010eefaf4").ljust(510, b"\0") + b"\x55\xaa"

# movz w0, #8; movk w0, #0x8400, lsl #16; hvc #0; b .: PSCI's SYSTEM_OFF
_POWER_OFF = bytes.fromhex("000180520080b072020000d400000014")

EMULATORS: Mapping[Arch, Emulator] = {
    Arch.AMD64: Emulator(
        program="qemu-system-x86_64",
        package="qemu-system-x86",
        machine="q35",
        cpu="max,erms=off,la57=off,pku=off,smap=off,smep=off",
        uefi=(
            ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
            ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
            ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        ),
        uefi_package="ovmf",
        probe=_BOOT_SECTOR,
        probe_options=("-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive", "format=raw,file={probe}"),
        probe_code=33,
    ),
    Arch.ARM64: Emulator(
        program="qemu-system-aarch64",
        package="qemu-system-arm",
        machine="virt",
        cpu="cortex-a72",
        uefi=(
            ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
            ("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", ""),
            ("/usr/share/edk2/aarch64/QEMU_EFI.fd", ""),
        ),
        uefi_package="qemu-efi-aarch64",
        probe=_POWER_OFF,
        probe_options=("-bios", "{probe}"),
        probe_code=0,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine to boot an image on. Without acceleration it is emulated in software."""

    arch: Arch
    firmware: Firmware
    cores: int = 1
    memory_mib: int = 1024
    accelerated: bool = False

    def argv(self, folder: Path) -> list[str]:
        """Return QEMU's command line for the bare machine; what its firmware writes goes to `folder`.

        BIOS says what it does on a debug port only, so that goes to `folder`/firmware.log.
        """
        emulator = EMULATORS[self.arch]
        options = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        options += ["-smp", str(self.cores), "-m", str(self.memory_mib), "-device", "virtio-rng-pci"]
        if self.firmware is Firmware.BIOS:
            options += ["-chardev", f"file,id=firmware,path={comma(folder / 'firmware.log')}"]
            options += ["-device", "isa-debugcon,iobase=0x402,chardev=firmware"]
        else:
            code, variables = uefi(self.arch)
            if variables is None:
                options += ["-bios", str(code)]
            else:
                shutil.copy(variables, folder / "variables.fd")
                options += ["-drive", f"if=pflash,format=raw,readonly=on,file={comma(code)}"]
                options += ["-drive", f"if=pflash,format=raw,file={comma(folder / 'variables.fd')}"]
        return [emulator.program, *_engine(emulator, self.accelerated), *options]


def comma(path: Path) -> str:
    """Return a path as a value in QEMU's options, where a comma separates."""
    return str(path).replace(",", ",,")


def uefi(arch: Arch) -> tuple[Path, Path | None]:
    """Return the files of an architecture's UEFI: code, and variables if they are apart."""
    for code, variables in EMULATORS[arch].uefi:
        if Path(code).exists():
            return Path(code), Path(variables) if variables else None
    raise CCImagesError(
        f"there is no UEFI firmware for {arch} here",
        hint=f"install the package {EMULATORS[arch].uefi_package}",
        reason="missing-tool",
    )


def lacking(arch: Arch, firmware: tuple[Firmware, ...]) -> list[str]:
    """Return what a boot test on this host lacks, each with the package that has it."""
    emulator = EMULATORS[arch]
    tools = {emulator.program: emulator.package, "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
    missing = [f"{tool} (package {package})" for tool, package in tools.items() if shutil.which(tool) is None]
    if not any(shutil.which(tool) for tool in ("genisoimage", "xorrisofs", "mkisofs")):
        missing.append("genisoimage (package genisoimage)")
    if Firmware.UEFI in firmware and not any(Path(code).exists() for code, _ in emulator.uefi):
        missing.append(f"UEFI firmware for {arch} (package {emulator.uefi_package})")
    return missing


def accelerated(arch: Arch, memory: Path, *, anew: bool = False) -> bool:
    """Say whether guests of this architecture run accelerated here, by having run one; `memory` keeps the answer.

    That none does is kept for a day: the host may have been busy, or be set up otherwise since. `anew` asks again. The
    presence of /dev/kvm proves nothing: it may open, make machines, and never run them.
    """
    if platform.machine() != arch.machine or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    program = shutil.which(EMULATORS[arch].program) or ""
    seen = os.stat(program).st_mtime_ns if program else 0
    host = f"{socket.gethostname()} {platform.release()} {arch} {seen}"
    known: dict[str, Json] = {}
    with suppress(OSError, ValueError):
        known = json.loads(memory.read_text())
    answer = known.get(host)
    if anew or answer is None or not (answer["runs"] or time.time() - answer["asked"] < DAY):
        answer = known[host] = {"runs": probe(arch, accelerate=True), "asked": time.time()}
        with suppress(OSError):
            write_json(memory, known)
    return bool(answer["runs"])


def probe(arch: Arch, *, accelerate: bool) -> bool:
    """Run a guest of a few instructions and say whether it ran."""
    emulator = EMULATORS[arch]
    with tempfile.TemporaryDirectory(prefix="cc-images-") as folder:
        program = Path(folder, "probe")
        program.write_bytes(emulator.probe)
        os.truncate(program, 1 << 20)  # firmware does not read a disk of one sector
        options = [option.format(probe=comma(program)) for option in emulator.probe_options]
        # a session of its own: Ctrl-C ends QEMU with the code of a guest that has ended itself
        machine = [emulator.program, *_engine(emulator, accelerate), "-m", "64", "-nodefaults", "-display", "none"]
        argv = ["setpriv", "--pdeathsig", "KILL", "--", *machine, "-no-reboot", *options]
        try:
            said = subprocess.run(
                argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=PROBE_TIMEOUT, start_new_session=True
            )
        except (subprocess.TimeoutExpired, OSError):
            return False
        return said.returncode == emulator.probe_code


def _engine(emulator: Emulator, accelerate: bool) -> list[str]:
    speed = (
        ["-accel", "kvm", "-cpu", "host"]
        if accelerate
        else ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", emulator.cpu]
    )
    return ["-machine", emulator.machine, *speed]
