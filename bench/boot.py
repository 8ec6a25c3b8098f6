"""Measure what the boot test costs: levels from power-on, what it adds to a build, and a script's boots beside it.

Builds cc-debian12 into a store of its own, pushes it with the boot test, pushes it again, and boots the same file as a
script would: one firmware after the other, each with all cores, until ssh lets the key in. In software emulation it
boots it once more with the processor of the boot test and with QEMU's largest at once; that takes about twelve minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.cache import Cost, cost
from bench.plain import REPOSITORY
from cc_images.boottest.acceleration import acceleration
from cc_images.boottest.qemu import EMULATORS, Machine
from cc_images.host.root import remove
from cc_images.model.catalog import Arch, Firmware, Level

TAG = "cc-debian12"

BOOTS = 1200.0
"""Seconds in which a machine must have booted."""


def by_hand(disk: Path, folder: Path, uefi: bool, speed: list[str]) -> float:
    """Boot a disk with QEMU and wait for ssh, with nothing of cc-images; return the seconds from power-on."""
    folder.mkdir()
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (folder / "user-data").write_text(
        f"#cloud-config\nssh_authorized_keys: ['{key.with_suffix('.pub').read_text()}']\n"
    )
    (folder / "meta-data").write_text("instance-id: i-1\n")
    seed = folder / "seed.iso"
    files = [folder / "user-data", folder / "meta-data"]
    subprocess.run(["genisoimage", "-quiet", "-V", "cidata", "-r", "-J", "-o", seed, *files], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    firmware = []
    if uefi:
        code, variables = next(pair for pair in EMULATORS[Arch.AMD64].uefi if Path(pair[0]).exists())
        shutil.copy(variables, folder / "variables")
        firmware = ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
        firmware += ["-drive", f"if=pflash,format=raw,file={folder / 'variables'}"]
    cores = str(len(os.sched_getaffinity(0)))
    argv = ["qemu-system-x86_64", "-M", "q35", *speed, "-m", "1024", "-smp", cores, "-display", "none", "-snapshot"]
    argv += ["-serial", "null", "-monitor", "none", *firmware]
    argv += ["-drive", f"file={disk},format=qcow2,if=virtio", "-drive", f"file={seed},format=raw,if=virtio,readonly=on"]
    argv += ["-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-rng-pci"]
    began = time.monotonic()
    machine = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    ssh = ["ssh", "-i", str(key), "-p", str(port), *options, "-o", "ConnectTimeout=20", "cc@127.0.0.1", "true"]
    try:
        while subprocess.run(ssh, capture_output=True).returncode != 0:
            time.sleep(1)
            if machine.poll() is not None or time.monotonic() - began > BOOTS:
                sys.exit("the machine does not let anybody in")
        return time.monotonic() - began
    finally:
        machine.kill()
        machine.wait()


def cpu_to_login(disk: Path, folder: Path, models: Sequence[str]) -> dict[str, float]:
    """Boot a disk with several models of processor at once; return the CPU seconds of QEMU up to the login prompt."""

    def boot(model: str) -> float:
        place = Path(tempfile.mkdtemp(dir=folder))
        serial = place / "serial"
        serial.touch()
        machine = Machine(arch=Arch.AMD64, firmware=Firmware.BIOS)
        argv = [model if word == EMULATORS[Arch.AMD64].cpu else word for word in machine.argv(place)]
        argv += ["-drive", f"file={disk},format=qcow2,if=virtio,snapshot=on", "-serial", f"file:{serial}"]
        deadline = time.monotonic() + BOOTS
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as qemu:
            try:
                while " login: " not in serial.read_text(errors="replace"):
                    time.sleep(0.2)
                    if qemu.poll() is not None or time.monotonic() > deadline:
                        sys.exit("the machine does not come to its login prompt")
                user, system = Path(f"/proc/{qemu.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
            finally:
                qemu.kill()

    with ThreadPoolExecutor(len(models)) as pool:
        return dict(zip(models, pool.map(boot, models), strict=True))


def ours(folder: Path, *words: str) -> Cost:
    """Run cc-images."""
    return cost([sys.executable, "-m", "cc_images", *words, "-a", Arch.AMD64, TAG], folder)


def main() -> None:
    """Print the tables."""
    folder = Path(tempfile.mkdtemp(prefix="cc-bench-"))
    said = subprocess.run([REPOSITORY / "script" / "host-mirrors"], check=True, capture_output=True, text=True).stdout
    os.environ |= dict(re.findall(r"^export (\w+)=(.*)$", said, re.MULTILINE))
    os.environ |= {"PYTHONPATH": str(REPOSITORY), "HOME": str(folder), "CC_IMAGES_STORE": str(folder / "store")}
    try:
        for name in ("images.yaml", "elements"):
            (folder / name).symlink_to(REPOSITORY / name)
        (folder / "sites.yaml").write_text("local: {directory: site, is_baremetal: true}\n")
        (folder / "third-party.yaml").write_text("")
        kvm = acceleration(Arch.AMD64, folder / "accelerators.json").runs
        build, first, again = ours(folder, "-b"), ours(folder, "-p"), ours(folder, "-p")
        record = next((folder / "store").glob(f"builds/{TAG}/{Arch.AMD64}/2*.more"))
        boots = json.loads(record.read_text())["boot"]["boots"]
        print(f"{'with KVM' if kvm else 'software emulation'}, {len(os.sched_getaffinity(0))} cores\n")
        print(
            f"{'seconds from power-on to':28}" + "".join(f"{firmware:>8}" for firmware in boots) + "   adds, of a build"
        )
        before = 0.0
        for level in list(Level)[1:]:
            at = [boot["levels"][level] for boot in boots.values()]
            added = max(at) - before
            before = max(at)
            print(f"{level:28}" + "".join(f"{each:8.1f}" for each in at) + f"{added:8.1f} s {added / build.wall:7.2f}")
        print(f"\n{'':28}{'CPU s':>8}{'wall s':>8}{'ratio of wall':>16}")
        print(f"{'build and conversion':28}{build.cpu:8.1f}{build.wall:8.1f}{1:16.2f}")
        print(f"{'first push, with boot test':28}{first.cpu:8.1f}{first.wall:8.1f}{first.wall / build.wall:16.2f}")
        print(f"{'second push':28}{again.cpu:8.1f}{again.wall:8.1f}{again.wall / build.wall:16.4f}")
        disk = (folder / "site" / "CC-Debian12.qcow2").resolve()
        speed = ["-accel", "kvm", "-cpu", "host"] if kvm else ["-accel", "tcg,thread=multi", "-cpu", "max"]
        seconds = [by_hand(disk, folder / f"hand-{uefi}", uefi, speed) for uefi in (False, True)]
        both = max(boot["levels"][Level.SSH] for boot in boots.values())
        if not kvm:
            chosen, largest = EMULATORS[Arch.AMD64].cpu, "max"
            took = cpu_to_login(disk, folder, (chosen, largest))
            print("\nCPU seconds of QEMU to the login prompt, at once: " + "; ".join(
                f"{used:.1f} with -cpu {model}" for model, used in took.items()
            ) + f"; ratio {took[chosen] / took[largest]:.2f}")  # fmt: skip
        print(f"\npower-on to ssh, BIOS and UEFI: {both:.1f} s at once; by hand one after the other "
              f"{seconds[0]:.1f} + {seconds[1]:.1f} s; ratio {both / sum(seconds):.2f}")  # fmt: skip
    finally:
        remove(folder)


if __name__ == "__main__":
    main()
