"""Images that are broken on purpose: a copy of a good one, written to through FUSE, put into a store as a build.

As a program, `broken.py RAW FOLDER WHAT` breaks a raw disk, in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from cc_images.model.builds import Build, Output
from cc_images.model.catalog import Arch, Format
from cc_images.store.records import Store

PLACE = Path("root")
"""Where the image's root file system is mounted while it is broken."""


def no_boot_loader(raw: Path) -> None:
    """Take away what firmware starts: the code in the first sector, GRUB's core, the EFI system partition."""
    with raw.open("r+b") as disk:
        disk.write(bytes(440))
        for partition in partitions(raw)[:2]:
            disk.seek(partition["start"] * 512)
            disk.write(bytes(1 << 20))


def no_root_device(root: Path) -> None:
    """Let the boot loader name a root device that is not there."""
    menu = root / "boot/grub/grub.cfg"
    menu.write_text(menu.read_text().replace("root=LABEL=cloudimg-rootfs", "root=LABEL=nowhere"))


def no_cloud_init(root: Path) -> None:
    """Disable cloud-init the documented way."""
    (root / "etc/cloud/cloud-init.disabled").touch()


def no_sshd(root: Path) -> None:
    """Mask the ssh server."""
    unit = root / "etc/systemd/system/ssh.service"
    unit.unlink(missing_ok=True)
    unit.symlink_to("/dev/null")


def failing_unit(root: Path) -> None:
    """Enable a unit that fails."""
    unit = root / "etc/systemd/system/cc-broken.service"
    unit.write_text("[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n")
    (root / "etc/systemd/system/multi-user.target.wants/cc-broken.service").symlink_to(unit.relative_to(root))


def nothing(root: Path) -> None:
    """Leave it as it is: what is looked for is not there."""


def leaked_secret(root: Path) -> None:
    """Leave a variable of the build in the image."""
    (root / "etc/apt/apt.conf.d/99build").write_text('Acquire::http::Proxy "http://build:correct-horse@proxy/";\n')


def shared_identity(root: Path) -> None:
    """Leave what must not be shared: host keys, a machine-id, a password, a manifest's environment."""
    (root / "etc/ssh/ssh_host_ed25519_key").write_text("not secret any more\n")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/dib-manifests/dib_environment").write_text("declare -x DIB_X=y\n")
    shadow = root / "etc/shadow"
    shadow.write_text(
        shadow.read_text().replace("root:!*:", "root:$6$salt$hash:").replace("root:*:", "root:$6$salt$hash:")
    )


def hostile(root: Path) -> None:
    """Do what somebody may who wants to trouble whoever looks into the image; it loads nothing, and ends."""
    status = root / "var/lib/dpkg/status"
    status.write_text(status.read_text() + "\nPackage: no-version\nStatus: install ok installed\n\n")
    (root / "etc/passwd").open("ab").truncate(1 << 40)
    for folder in root.glob("usr/lib/python3*"):
        (folder / "traceback.py").write_text("open('/proof', 'w')")
    os.mkdir(os.fsencode(root / "opt") + b"/\xff\x1b]0;title\x07")
    (root / "etc/cc-images/provenance.json").write_text('{"name": ["list"], "deep": ' + "[" * 5000 + "]" * 5000 + "}")
    (root / "etc/os-release").unlink()
    (root / "etc/os-release").write_text('PRETTY_NAME="evil \x1b[2J os"\n')
    (root / "etc/resolv.conf").unlink()
    (root / "etc/resolv.conf").write_text("nameserver \n")
    (root / "root/.ssh").mkdir(exist_ok=True)
    (root / "root/.ssh/authorized_keys").symlink_to("/proc/self/environ")
    os.chdir(root / "opt")
    for _ in range(30):  # a path that is longer than the kernel takes at once
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    os.chdir("/")


LIGHT = """\
cloud_init_modules: [set_hostname, users-groups, ssh]
cloud_config_modules: []
cloud_final_modules: [final-message]
"""
"""What cloud-init does that a boot test looks for, and no more."""


def lighten(root: Path) -> None:
    """Leave out what takes its time in software emulation and is not what any of these images is about."""
    menu = root / "boot/grub/grub.cfg"
    text = menu.read_text().replace("set timeout=5", "set timeout=0")  # nobody chooses here
    menu.write_text(re.sub(r"^(\s*linux\s.*)$", r"\1 mitigations=off", text, flags=re.MULTILINE))
    (root / "etc/cloud/cloud.cfg.d/99-light.cfg").write_text(LIGHT)
    for name in ("firewalld", "chrony", "polkit", "e2scrub_reap", "systemd-networkd-wait-online"):
        unit = root / f"etc/systemd/system/{name}.service"
        unit.unlink(missing_ok=True)
        unit.symlink_to("/dev/null")


WAYS = {
    way.__name__: way
    for way in (no_root_device, no_cloud_init, no_sshd, failing_unit, nothing, leaked_secret, shared_identity, hostile)
}


def store_broken(store: Store, good: Path, name: str, way: str, folder: Path) -> None:
    """Put a build into the store whose disk is the good one, broken in a way."""
    folder.mkdir()
    disk = folder / "disk.qcow2"
    shutil.copy(good, disk)
    disk.chmod(0o600)
    shown = folder / "raw"
    shown.touch()
    options = ["--blockdev", f"driver=file,node-name=file,filename={disk}"]
    options += ["--blockdev", "driver=qcow2,node-name=disk,file=file"]
    options += ["--export", f"type=fuse,id=fuse,node-name=disk,mountpoint={shown},writable=on"]
    server = subprocess.Popen(["qemu-storage-daemon", *options], stdin=subprocess.DEVNULL)
    try:
        while not os.path.ismount(shown):
            assert server.poll() is None
            time.sleep(0.01)
        program = [sys.executable, "-m", "tests.real.broken", str(shown), str(folder), way]
        subprocess.run(["unshare", "--mount", "--propagation", "private", *program], check=True)
    finally:
        server.terminate()
        server.wait()
    virtual_size = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", disk], check=True, capture_output=True).stdout
    )["virtual-size"]
    blob = store.blobs.add(disk)
    output = Output(
        format=Format.QCOW2, digest=blob.digest, sha512=blob.sha512, size=blob.size, virtual_size=virtual_size
    )
    build = Build(
        tag=name.lower(), name=name, arch=Arch.AMD64, version="20261121T000000Z", recipe_key="a", key="k",
        outputs={Format.QCOW2: output},
    )  # fmt: skip
    store.record(build, {}, name)


def partitions(raw: Path) -> list[dict[str, int]]:
    table = json.loads(subprocess.run(["sfdisk", "-J", raw], check=True, capture_output=True).stdout)
    found: list[dict[str, int]] = table["partitiontable"]["partitions"]
    return found


def main(raw: Path, folder: Path, way: str) -> None:
    if way == "no_boot_loader":
        no_boot_loader(raw)
        return
    place = folder / PLACE
    place.mkdir()
    largest = max(partitions(raw), key=lambda each: each["size"])
    options = f"loop,offset={largest['start'] * 512},sizelimit={largest['size'] * 512}"
    subprocess.run(["mount", "-o", options, raw, place], check=True)
    lighten(place)
    WAYS[way](place)
    subprocess.run(["umount", place], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
