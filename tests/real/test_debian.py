"""The default image: built after a kill in the boot loader, booted with BIOS and with UEFI, looked at from inside."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from bench.plain import plain
from tests.conftest import lacking
from tests.real.conftest import Project, host_mirrors
from tests.real.trees import Tree, partitions, snapshot


def test_it_was_built_after_a_kill_in_the_boot_loader_beside_another(debian: Project) -> None:
    assert debian.published("CC-Debian12") == debian.published("CC-Tiny")
    said = json.loads((debian.site / "CC-Debian12.json").read_text())
    assert said["properties"]["architecture"] == "x86_64"
    assert said["properties"]["os_distro"] == "debian"
    assert said["packages"] > 200


EXPECTED = {
    "boot/grub/*-*/core.*": "names the file system by its random UUID",
    "boot/grub/*-efi/grub.efi": "names the file system by its random UUID",
    "boot/grub/*-*/load.cfg": "names the file system by its random UUID",
    "etc/cc-images/provenance.json": "names image, version and key",
    "etc/motd": "names image and version",
    "etc/dib-manifests/dib-manifest-dpkg-*": "is named after the output file",
    "var/lib/dpkg/diversions-old": "dpkg's own backup remembers that update-initramfs was held back",
}
"""What may differ between a child made from its parent's layer and the same image made in one go, and why."""


@pytest.mark.skipif(bool(why := lacking(("newuidmap",))), reason=why or "-")
def test_an_ordinary_user_comes_to_the_same_bytes_elsewhere(debian: Project, tmp_path: Path) -> None:
    code, output = debian.run("-b", "cc-kid")
    assert code == 0, output
    place = tmp_path / "another place"
    place.mkdir()
    for name in ("images.yaml", "sites.yaml", "third-party.yaml"):
        shutil.copy(debian.folder / name, place)
    shutil.copytree(debian.folder / "elements", place / "elements")
    elsewhere = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec taskset -c 0 "$@"', "sh")
    theirs = replace(
        debian,
        folder=place,
        environment=debian.environment | {"HOME": str(place), "CC_IMAGES_STORE": str(place / "store")},
        through=(*elsewhere, sys.executable, "-m", "tests.support.ordinary", str(place), "--"),
    )
    code, output = theirs.run("-b", "-t", "1", "cc-kid")
    assert code == 0, output
    assert "layer cc-debian12 amd64" in output, "nothing was reused"
    mine, its = ((each.store / "images" / "CC-Kid.qcow2").resolve() for each in (debian, theirs))
    status = "var/lib/dpkg/status"
    if snapshot(mine, tmp_path)[status] != snapshot(its, tmp_path)[status]:
        pytest.skip("the archive has moved during the test")
    assert mine.name == its.name, "the digests of the files"
    theirs.assert_no_leftovers()


def test_a_child_is_what_plain_dib_builds_in_one_go(debian: Project, tmp_path: Path) -> None:
    code, output = debian.run("-b", "cc-kid")
    assert code == 0, output
    assert "dib makes the disk" not in output
    assert "layer" not in output or " → " in output, "the parent's tree was there, unless the archive has just moved"
    log = max((debian.store / "logs").glob("*/layer-cc-debian12-amd64.log")).read_text()
    assert log.count("update-initramfs: Generating") == 1, "not once per package that asks"
    plain(
        tmp_path / "plain",
        ("cc-debian12", "probe-kid", "vm", "block-device-efi"),
        ("iputils-ping", "acl"),
        (debian.folder / "elements",),
        options=("-n", "-u"),
        environment=host_mirrors() | {"SOURCE_DATE_EPOCH": "1700000000"},
    )
    code, output = debian.run("inspect", "cc-kid", "--against", str(debian.site / "CC-Debian12.qcow2"))
    assert code == 0, output
    assert "  +rng-tools5 " in output
    assert "rsync" not in output, "the parent has it already"
    assert "  +serial-getty@ttyS1.service" in output
    mine, its = (partitions(each) for each in (debian.store / "images" / "CC-Kid.qcow2", tmp_path / "plain.qcow2"))
    assert [each[:-1] for each in mine] == [each[:-1] for each in its], "names, types, places"
    assert abs(mine[-1][-1] / its[-1][-1] - 1) < 0.05, "the size of the root"
    ours = snapshot(debian.store / "images" / "CC-Kid.qcow2", tmp_path)
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
