"""A ramdisk in QEMU: Debian's kernel, and an initramfs with a shell, booted to its login prompt without a disk."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard

from cc_images.boottest.boot import climb
from cc_images.boottest.guest import Drive, Guest
from cc_images.boottest.qemu import Machine
from cc_images.model.catalog import USUAL, Arch, Firmware, Format, Level
from cc_images.model.contract import settled
from cc_images.outputs import cpio
from tests.conftest import lacking

pytestmark = pytest.mark.skipif(
    bool(lacking(("qemu-system-x86_64", "apt-get", "dpkg-deb"))), reason="needs QEMU, and apt for a kernel"
)

INIT = """\
#!/bin/sh
printf 'ramdisk login: '
read name
"""


def kernel(folder: Path) -> Path:
    """Return a kernel of Debian's for virtual machines, as apt has it."""
    depends = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True)
    names = [line.split()[-1] for line in depends.stdout.splitlines() if "Depends: linux-image-" in line]
    if not names or subprocess.run(["apt-get", "download", "-q", names[0]], cwd=folder, capture_output=True).returncode:
        pytest.skip("apt has no kernel for virtual machines here")
    (package,) = folder.glob("linux-image-*.deb")
    subprocess.run(["dpkg-deb", "-x", package, folder / "kernel"], check=True)
    (found,) = (folder / "kernel/boot").glob("vmlinuz-*")
    return found


def tree(folder: Path) -> Path:
    """Return a tree with a shell, what it needs, and an init."""
    place = folder / "tree"
    needed = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout.split()
    for name in ("/bin/sh", *(word for word in needed if word.startswith("/"))):
        target = place / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)
    (place / "sbin").mkdir(exist_ok=True)
    (place / "sbin/init").write_text(INIT)
    (place / "sbin/init").chmod(0o755)
    plain = folder / "plain.tar"
    with tarfile.open(plain, "w") as tar:
        tar.add(place, ".")
    packed = folder / "tree.tar"
    packed.write_bytes(zstandard.compress(plain.read_bytes()))
    return packed


def test_a_ramdisk_is_booted_without_a_disk(tmp_path: Path) -> None:
    stop = threading.Event()
    cpio.archive(tree(tmp_path), tmp_path / "initramfs", stop)
    contract, _ = settled(USUAL, {}, Format.INITRAMFS, Arch.AMD64)
    assert contract.level is Level.LOGIN
    machine = Machine(arch=Arch.AMD64, firmware=Firmware.BIOS, memory_mib=1024)
    drive = Drive(tmp_path / "initramfs", Format.INITRAMFS, kernel(tmp_path))
    with Guest(machine, drive, tmp_path / "guest", contract=contract) as guest:
        found = climb(guest, {}, stop=stop)
        assert found.failed is None, (found.problems, guest.tail())
    assert {Level.KERNEL, Level.LOGIN} <= found.levels.keys()
