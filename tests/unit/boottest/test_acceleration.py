"""Acceleration: whether a host can speed guests up, shown by guests that run, and forgotten when one stays silent."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.boottest import acceleration, qemu
from cc_images.boottest.acceleration import distrust
from cc_images.boottest.qemu import EMULATORS
from cc_images.model.catalog import Arch
from tests.conftest import REPOSITORY


def accelerated(arch: Arch, memory: Path, *, anew: bool = False, believed: float = acceleration.DAY) -> bool:
    return acceleration.acceleration(arch, memory, anew=anew, believed=believed, timeout=0.5).runs


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a script that stands where QEMU does, on a host that has a /dev/kvm of the right architecture."""
    script = tmp_path / "bin" / "qemu-test"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nexit 33\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    emulator = replace(EMULATORS[Arch.AMD64], program=script.name, uefi=())
    monkeypatch.setattr(qemu, "EMULATORS", {Arch.AMD64: emulator})
    monkeypatch.setattr("cc_images.boottest.acceleration.platform.machine", lambda: "x86_64")
    monkeypatch.setattr(acceleration, "kvm_refuses", lambda: "")
    return script


def test_a_guest_that_runs_is_remembered_for_this_host_and_this_qemu(emulator: Path, tmp_path: Path) -> None:
    memory = tmp_path / "accelerators.json"
    assert accelerated(Arch.AMD64, memory)
    assert [each["runs"] for each in json.loads(memory.read_text()).values() if each != 1] == [True]
    time.sleep(0.01)
    emulator.write_text("#!/bin/sh\nexit 1\n")
    assert not accelerated(Arch.AMD64, memory), "another QEMU is asked again"


def test_a_guest_that_hangs_or_does_not_start_is_no_acceleration(emulator: Path, tmp_path: Path) -> None:
    emulator.write_text("#!/bin/sh\nexec sleep 60\n")
    assert not accelerated(Arch.AMD64, tmp_path / "memory")
    emulator.unlink()
    assert not accelerated(Arch.AMD64, tmp_path / "memory")


def test_that_none_runs_is_asked_again_after_a_day_and_by_doctor(emulator: Path, tmp_path: Path) -> None:
    memory, works = tmp_path / "memory", emulator.stat()
    emulator.write_text("#!/bin/sh\nexit 1\n")
    os.utime(emulator, ns=(works.st_mtime_ns, works.st_mtime_ns))
    assert not accelerated(Arch.AMD64, memory)
    emulator.write_text("#!/bin/sh\nexit 33\n")
    os.utime(emulator, ns=(works.st_mtime_ns, works.st_mtime_ns))
    assert not accelerated(Arch.AMD64, memory), "it was asked a moment ago"
    assert accelerated(Arch.AMD64, memory, believed=0.0)
    emulator.write_text("#!/bin/sh\nexit 1\n")
    os.utime(emulator, ns=(works.st_mtime_ns, works.st_mtime_ns))
    assert accelerated(Arch.AMD64, memory)
    assert not accelerated(Arch.AMD64, memory, anew=True)


def test_the_boot_sector_is_what_its_source_says(tmp_path: Path) -> None:
    if shutil.which("as") is None or shutil.which("objcopy") is None:
        pytest.skip("binutils are missing")
    subprocess.run(["as", "--64", "-o", tmp_path / "o", REPOSITORY / "tests/support/probe.S"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", tmp_path / "o", tmp_path / "bin"], check=True)
    made = (tmp_path / "bin").read_bytes()
    assert EMULATORS[Arch.AMD64].probe == made.ljust(510, b"\0") + b"\x55\xaa"


def test_instructions_alone_are_no_acceleration(
    emulator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firmware = replace(qemu.EMULATORS[Arch.AMD64], uefi=((str(emulator), ""),))
    monkeypatch.setattr(qemu, "EMULATORS", {Arch.AMD64: firmware})
    script = "#!/bin/sh\ncase $* in *bios*) {} exec sleep 5;; esac\nexit 33\n"
    emulator.write_text(script.replace("{}", ""))
    answer = acceleration.acceleration(Arch.AMD64, tmp_path / "memory", timeout=0.5)
    assert (answer.runs, answer.why) == (False, "a guest of a few instructions runs, but firmware does not start")
    speaks = 'for w; do case $w in file,*) echo "BdsDxe: x" > "${w##*path=}";; esac; done;'
    emulator.write_text(script.replace("{}", speaks))
    assert accelerated(Arch.AMD64, tmp_path / "memory", anew=True)


def test_a_host_that_kept_a_guest_silent_is_distrusted_for_a_day_and_said_once(
    emulator: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = tmp_path / "accelerators.json"
    assert accelerated(Arch.AMD64, memory)
    with caplog.at_level(logging.WARNING):
        distrust(Arch.AMD64, memory, "no sign of it (uefi)")
        distrust(Arch.AMD64, memory, "no sign of it (bios)")
    assert [each.getMessage() for each in caplog.records] == [
        "guests do not run accelerated here; boot tests use software emulation for a day: no sign of it (uefi)"
    ]
    answer = acceleration.acceleration(Arch.AMD64, memory)
    assert (answer.runs, answer.why) == (False, "no sign of it (bios)")
    assert accelerated(Arch.AMD64, memory, believed=0.0)


def test_an_answer_of_a_probe_that_started_no_firmware_is_asked_again(emulator: Path, tmp_path: Path) -> None:
    memory = tmp_path / "accelerators.json"
    assert accelerated(Arch.AMD64, memory)
    said = json.loads(memory.read_text())
    for each in said.values():
        if isinstance(each, dict):
            del each["why"]
    memory.write_text(json.dumps(said))
    times = emulator.stat()
    emulator.write_text("#!/bin/sh\nexit 1\n")
    os.utime(emulator, ns=(times.st_mtime_ns, times.st_mtime_ns))
    assert not accelerated(Arch.AMD64, memory)


def test_another_architecture_is_never_accelerated(
    emulator: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cc_images.boottest.acceleration.platform.machine", lambda: "aarch64")
    assert not accelerated(Arch.AMD64, tmp_path / "memory")
    assert not (tmp_path / "memory").exists()
