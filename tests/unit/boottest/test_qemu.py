"""Machines: what QEMU is told, and what a host lacks for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.boottest import qemu
from cc_images.boottest.qemu import EMULATORS, Machine, comma, lacking
from cc_images.errors import CCImagesError
from cc_images.model.catalog import Arch, Firmware


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    nothing = replace(EMULATORS[Arch.ARM64], uefi=(("/nowhere/code", ""),))
    monkeypatch.setattr(qemu, "EMULATORS", {Arch.ARM64: nothing})
    assert lacking(Arch.ARM64, (Firmware.UEFI,)) == [
        "qemu-system-aarch64 (package qemu-system-arm)",
        "ssh (package openssh-client)",
        "ssh-keygen (package openssh-client)",
        "genisoimage (package genisoimage)",
        "UEFI firmware for arm64 (package qemu-efi-aarch64)",
    ]
    with pytest.raises(CCImagesError, match="no UEFI firmware for arm64"):
        qemu.uefi(Arch.ARM64)


def test_firmware_keeps_its_variables_in_the_guests_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("code", "variables"):
        (tmp_path / name).write_text(name)
    pair = (str(tmp_path / "code"), str(tmp_path / "variables"))
    monkeypatch.setattr(qemu, "EMULATORS", {Arch.AMD64: replace(EMULATORS[Arch.AMD64], uefi=(pair,))})
    folder = tmp_path / "a, b"
    folder.mkdir()
    words = " ".join(Machine(arch=Arch.AMD64, firmware=Firmware.UEFI, memory_mib=2048).argv(folder))
    assert "-m 2048" in words
    assert f"file={comma(folder / 'variables.fd')}" in words
    assert ",," in comma(folder)
    assert (folder / "variables.fd").read_text() == "variables"
    assert "isa-debugcon" in " ".join(Machine(arch=Arch.AMD64, firmware=Firmware.BIOS).argv(folder))
