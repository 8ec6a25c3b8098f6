"""Machines: what QEMU is told, and whether a host can speed guests up, shown by a guest that runs."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images import emulation
from cc_images.emulation import EMULATORS, Machine, accelerated, comma, lacking, probe
from cc_images.errors import CCImagesError
from cc_images.model import Arch, Firmware


@pytest.mark.parametrize("arch", Arch)
def test_a_guest_of_a_few_instructions_ends_itself(arch: Arch) -> None:
    if shutil.which(EMULATORS[arch].program) is None:
        pytest.skip(f"{EMULATORS[arch].program} is missing")
    assert probe(arch, accelerate=False)


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a script that stands where QEMU does, on a host that has a /dev/kvm of the right architecture."""
    script = tmp_path / "bin" / "qemu-test"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nexit 33\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    emulator = replace(EMULATORS[Arch.AMD64], program=script.name)
    monkeypatch.setattr(emulation, "EMULATORS", {Arch.AMD64: emulator})
    monkeypatch.setattr("cc_images.emulation.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("cc_images.emulation.os.access", lambda path, mode: True)
    monkeypatch.setattr(emulation, "PROBE_TIMEOUT", 0.5)
    return script


def test_a_guest_that_runs_is_remembered_for_this_host_and_this_qemu(qemu: Path, tmp_path: Path) -> None:
    memory = tmp_path / "accelerators.json"
    assert accelerated(Arch.AMD64, memory)
    assert [each["runs"] for each in json.loads(memory.read_text()).values()] == [True]
    time.sleep(0.01)
    qemu.write_text("#!/bin/sh\nexit 1\n")
    assert not accelerated(Arch.AMD64, memory), "another QEMU is asked again"


def test_a_guest_that_hangs_or_does_not_start_is_no_acceleration(qemu: Path, tmp_path: Path) -> None:
    qemu.write_text("#!/bin/sh\nexec sleep 60\n")
    assert not accelerated(Arch.AMD64, tmp_path / "memory")
    qemu.unlink()
    assert not accelerated(Arch.AMD64, tmp_path / "memory")


def test_that_none_runs_is_asked_again_after_a_day_and_by_doctor(
    qemu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, works = tmp_path / "memory", qemu.stat()
    qemu.write_text("#!/bin/sh\nexit 1\n")
    os.utime(qemu, ns=(works.st_mtime_ns, works.st_mtime_ns))
    assert not accelerated(Arch.AMD64, memory)
    qemu.write_text("#!/bin/sh\nexit 33\n")
    os.utime(qemu, ns=(works.st_mtime_ns, works.st_mtime_ns))
    assert not accelerated(Arch.AMD64, memory), "it was asked a moment ago"
    monkeypatch.setattr(emulation, "DAY", 0.0)
    assert accelerated(Arch.AMD64, memory)
    qemu.write_text("#!/bin/sh\nexit 1\n")
    os.utime(qemu, ns=(works.st_mtime_ns, works.st_mtime_ns))
    assert accelerated(Arch.AMD64, memory)
    assert not accelerated(Arch.AMD64, memory, anew=True)


def test_another_architecture_is_never_accelerated(qemu: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cc_images.emulation.platform.machine", lambda: "aarch64")
    assert not accelerated(Arch.AMD64, tmp_path / "memory")
    assert not (tmp_path / "memory").exists()


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    nothing = replace(EMULATORS[Arch.ARM64], uefi=(("/nowhere/code", ""),))
    monkeypatch.setattr(emulation, "EMULATORS", {Arch.ARM64: nothing})
    assert lacking(Arch.ARM64, (Firmware.UEFI,)) == [
        "qemu-system-aarch64 (package qemu-system-arm)",
        "ssh (package openssh-client)",
        "ssh-keygen (package openssh-client)",
        "genisoimage (package genisoimage)",
        "UEFI firmware for arm64 (package qemu-efi-aarch64)",
    ]
    with pytest.raises(CCImagesError, match="no UEFI firmware for arm64"):
        emulation.uefi(Arch.ARM64)


def test_firmware_keeps_its_variables_in_the_guests_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("code", "variables"):
        (tmp_path / name).write_text(name)
    pair = (str(tmp_path / "code"), str(tmp_path / "variables"))
    monkeypatch.setattr(emulation, "EMULATORS", {Arch.AMD64: replace(EMULATORS[Arch.AMD64], uefi=(pair,))})
    folder = tmp_path / "a, b"
    folder.mkdir()
    words = " ".join(Machine(arch=Arch.AMD64, firmware=Firmware.UEFI, memory_mib=2048).argv(folder))
    assert "-m 2048" in words
    assert f"file={comma(folder / 'variables.fd')}" in words
    assert ",," in comma(folder)
    assert (folder / "variables.fd").read_text() == "variables"
    assert "isa-debugcon" in " ".join(Machine(arch=Arch.AMD64, firmware=Firmware.BIOS).argv(folder))
