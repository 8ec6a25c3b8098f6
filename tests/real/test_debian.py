"""The default image: built after a kill in the boot loader, booted with BIOS and with UEFI, looked at from inside."""

from __future__ import annotations

import json
import signal
from fnmatch import fnmatch
from pathlib import Path

import pytest

from bench.plain import plain
from tests.conftest import REPOSITORY, clean_environment, lacking, write_files
from tests.real.conftest import Project, Watched, host_mirrors
from tests.real.qemu import Guest
from tests.real.trees import Tree, snapshot

BOOT_TOOLS = ("qemu-system-x86_64", "genisoimage", "ssh")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Project:
    """Build cc-debian12 beside a second small Debian image, two at a time, and publish both."""
    folder = tmp_path_factory.mktemp("debian")
    images = (REPOSITORY / "images.yaml").read_text() + (
        "\nCC-Tiny:\n  elements: [tiny-os]\n  disk: [block-device-efi, tiny-disk]\n"
        f"  artifacts: {{DIB_TINY_ROOT: {{url: '{tiny_root.as_uri()}'}}}}\n"
        "\nCC-Kid: {depends: [CC-Debian12], elements: [probe-kid], packages: [iputils-ping, acl]}\n"
    )
    write_files(folder, images=images, sites="local: {directory: site, is_baremetal: true}")
    elements = folder / "elements"
    elements.mkdir()
    for element in [*(REPOSITORY / "elements").iterdir(), *(REPOSITORY / "tests" / "elements").iterdir()]:
        if element.is_dir():
            (elements / element.name).symlink_to(element)
    hook = elements / "probe-kid" / "install.d" / "50-probe"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/bash\nset -eu\nset -o pipefail\nsystemctl enable serial-getty@ttyS1.service\n")
    hook.chmod(0o755)
    (elements / "probe-kid" / "package-installs.yaml").write_text("rsync:\nrng-tools5:\n")
    (elements / "probe-kid" / "element-deps").write_text("package-installs\n")
    project = Project(folder, clean_environment(folder) | host_mirrors() | {"PYTHONPATH": str(REPOSITORY)})
    run = Watched(project.start("-b", "-p", "cc-debian12"))
    run.wait_for(r"^\[build .* finalise\.d", 900)
    run.end(signal.SIGKILL)
    project.assert_nothing_leaked()
    code, output = project.run("-b", "-p", "-t", "2", "cc-debian12", "cc-tiny")
    assert code == 0, output
    project.assert_no_leftovers()
    print(output)
    return project


def test_it_was_built_after_a_kill_in_the_boot_loader_beside_another(built: Project) -> None:
    assert built.published("CC-Debian12") == built.published("CC-Tiny")
    said = json.loads((built.site / "CC-Debian12.json").read_text())
    assert said["properties"]["architecture"] == "x86_64"
    assert said["properties"]["os_distro"] == "debian"
    assert said["packages"] > 200


@pytest.mark.skipif(bool(lacking(BOOT_TOOLS)), reason=lacking(BOOT_TOOLS) or "-")
@pytest.mark.parametrize("uefi", [False, True], ids=["bios", "uefi"])
def test_it_boots_to_an_ssh_login(built: Project, tmp_path: Path, uefi: bool) -> None:
    with Guest(built.site / "CC-Debian12.qcow2", tmp_path / "guest", uefi) as guest:
        seconds = guest.wait_for_ssh()
        print(f"ssh after {seconds:.0f} s")
        assert ("efi" in guest.said("ls /sys/firmware")) is uefi
        assert guest.said("id -un; id -u") == "cc\n1000"
        assert guest.said("sudo id -u") == "0"
        assert guest.said("systemctl is-system-running --wait") == "running"
        assert "done" in guest.said("cloud-init status")
        assert guest.said("hostname") == "probe"
        assert guest.said("cat /etc/resolv.conf | grep -c nameserver") == "1"
        assert "127.0.0.53" in guest.said("cat /etc/resolv.conf"), "the guest's own resolver, not the build host's"
        assert guest.said("networkctl --no-legend | grep -c routable") == "1"
        assert "yes" not in guest.said("sudo sshd -T | grep -E '^(passwordauthentication|permitrootlogin) '")
        assert guest.ssh("true", user="root").returncode != 0
        assert "console=ttyS0" in guest.said("cat /proc/cmdline")
        assert int(guest.said("df --output=pcent / | tail -n 1").strip("% ")) < 90
        provenance = json.loads(guest.said("cat /etc/cc-images/provenance.json"))
        assert provenance["name"] == "CC-Debian12"
        assert provenance["version"] == built.published("CC-Debian12")
        left = guest.said("sudo ls -A /etc/dib-manifests; ls -A /etc/.resolv* /tmp/in_target.d 2>/dev/null || true")
        assert left.splitlines() == ["dib-manifest-dpkg-disk"], "no environment, no arguments of the build"


EXPECTED = {
    "boot/grub/*-*/core.*": "names the file system by its random UUID",
    "boot/grub/*-efi/grub.efi": "names the file system by its random UUID",
    "boot/grub/*-*/load.cfg": "names the file system by its random UUID",
    "etc/cc-images/provenance.json": "names image, version and key",
    "etc/dib-manifests/dib-manifest-dpkg-*": "is named after the output file",
    "var/lib/dpkg/diversions-old": "dpkg's own backup remembers that update-initramfs was held back",
}
"""What may differ between a child made from its parent's layer and the same image made in one go, and why."""


def test_a_child_is_what_plain_dib_builds_in_one_go(built: Project, tmp_path: Path) -> None:
    code, output = built.run("-b", "cc-kid")
    assert code == 0, output
    assert "layer" not in output, "the parent's tree was there"
    log = max((built.store / "logs").glob("*/layer-cc-debian12-amd64.log")).read_text()
    assert log.count("update-initramfs: Generating") == 1, "not once per package that asks"
    plain(
        tmp_path / "plain",
        ("cc-debian12", "probe-kid", "vm", "block-device-efi"),
        ("iputils-ping", "acl"),
        (built.folder / "elements",),
        options=("-n", "-u"),
        environment=host_mirrors() | {"SOURCE_DATE_EPOCH": "1700000000"},
    )
    ours = snapshot(built.store / "images" / "CC-Kid.qcow2", tmp_path)
    theirs = snapshot(tmp_path / "plain.qcow2", tmp_path)
    status = "var/lib/dpkg/status"
    assert ours[status] == theirs[status], "the same packages in the same versions"

    def differing(*aspects: str) -> list[str]:
        return [
            f"{name}: {[ours[name][aspect] for aspect in aspects]} != {[theirs[name][aspect] for aspect in aspects]}"
            for name in sorted(ours.keys() & theirs.keys())
            if any(ours[name][aspect] != theirs[name][aspect] for aspect in aspects)
            and not any(fnmatch(name, pattern) for pattern in EXPECTED)
        ]

    def only(tree: Tree, other: Tree) -> list[str]:
        return [
            name for name in sorted(tree.keys() - other.keys()) if not any(fnmatch(name, each) for each in EXPECTED)
        ]

    assert (only(ours, theirs), only(theirs, ours)) == ([], [])
    assert differing("mode", "owner", "attributes") == [], "modes, owners, capabilities, access lists"
    assert differing("content") == []
    assert any("security.capability" in entry["attributes"] for entry in ours.values()), "something has a capability"
    assert "etc/systemd/system/getty.target.wants/serial-getty@ttyS1.service" in ours, (
        "what the child enabled is enabled"
    )
