"""Machines to boot images on: which QEMU, and which firmware.

Owns QEMU's command line for a machine. To add an architecture: its line in EMULATORS.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cc_images.errors import CCImagesError, Reason
from cc_images.model.catalog import Arch, Firmware


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """How machines of one architecture are emulated."""

    program: str
    package: str
    machine: str
    cpu: str
    """The processor that software emulates. Not simply the largest: emulation pays for what hardware has for nothing.

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


# Goes into long mode with paging (one page of 2 MiB at 0), writes and reads the second MiB, asks cpuid, and writes 0x10
# to port 0xf4: QEMU's isa-debug-exit ends with (0x10 << 1) | 1. A test assembles it from tests/support/probe.S.
_BOOT_SECTOR = (
    bytes.fromhex(
        "fa31c08ed88ec08ed0bc007ce4920c02e692fcbf001089fe6631c0b9000c66f3abc7040320c78400100330c7840020830066b8001000"
        "000f22d80f20e00c200f22e066b9800000c00f320d00010f30660f0116c07c0f20c0660d010000800f22c066ea697c00000800b81000"
        "00008ed88ed0bf00001000b90000020048b85a5a5a5a5a5a5a5a4889fe89cbf348ab89d931d248ad4801c2e2f90fa266baf400b010ee"
        "f4ebfd0f1f00000000000000000000000000009a200000000000009200001700a87c0000"
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)

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
        return [emulator.program, *engine(emulator, self.accelerated), *options]


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
        reason=Reason.MISSING_TOOL,
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


def engine(emulator: Emulator, accelerate: bool) -> list[str]:
    """Return the machine and what runs its instructions, as QEMU's options."""
    speed = (
        ["-accel", "kvm", "-cpu", "host"]
        if accelerate
        else ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", emulator.cpu]
    )
    return ["-machine", emulator.machine, *speed]
