"""Outputs that are no disk: trees by dib and out of disks, and a ramdisk on a real Glance."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cc_images.model.catalog import Format
from cc_images.model.site import Site
from cc_images.sites.glance import GlanceSite
from tests.real.conftest import Project
from tests.support.testbed import TestBed

CATALOGUE = """\
CC-Tiny:
  elements: [tiny-os]
  disk: [block-device-efi, tiny-disk]
  formats: [qcow2, squashfs]
  artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}
CC-Tiny-Tree:
  elements: [tiny-os]
  formats: [tar, tar-gzip, squashfs]
  artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}
CC-Tiny-Ramdisk:
  elements: [tiny-os, tiny-kernel]
  formats: [ramdisk]
  artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}
"""


@pytest.fixture
def trees(project: Project, tiny_root: Path) -> Project:
    (project.folder / "images.yaml").write_text(CATALOGUE.replace("TINY_ROOT_URL", tiny_root.as_uri()))
    return project


def names(file: Path) -> set[str]:
    """Return the names in a squashfs, or in a tar of any compression."""
    if file.suffix == ".squashfs":
        plain = subprocess.run(["sqfs2tar", file], check=True, capture_output=True).stdout
        said = subprocess.run(["tar", "-tf", "-"], input=plain, check=True, capture_output=True).stdout
    else:
        said = subprocess.run(["tar", "-tf", file], check=True, capture_output=True).stdout
    return {line.removeprefix("./").rstrip("/") for line in said.decode().splitlines()} - {""}


def test_trees_of_dib_and_out_of_a_disk(trees: Project) -> None:
    code, output = trees.run("-b", "-p", "cc-tiny", "cc-tiny-tree")
    assert code == 0, output
    own = [names(trees.site / f"CC-Tiny-Tree.{suffix}") for suffix in ("tar.zst", "tar.gz", "squashfs")]
    assert own[0] == own[1] == own[2]
    assert {"etc/os-release", "usr/bin/dpkg"} <= own[0]
    out_of_disk = names(trees.store / "images/CC-Tiny.squashfs")
    assert {"etc/os-release", "usr/bin/dpkg"} <= out_of_disk
    assert "lost+found" not in out_of_disk
    trees.assert_no_leftovers()

    code, output = trees.run("inspect", "cc-tiny-tree")
    assert code == 3, output
    assert "Debian GNU/Linux 12" in output
    assert " a tree of " in output
    assert "leftover of the build" in output

    before = {path: path.stat().st_ino for path in trees.site.iterdir()}
    code, output = trees.run("-b", "-p", "cc-tiny", "cc-tiny-tree")
    assert code == 0, output
    assert {path: path.stat().st_ino for path in trees.site.iterdir()} == before, "nothing to do"


def test_a_ramdisk_is_two_images_that_know_each_other(
    trees: Project, bed: TestBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(bed.clouds))
    (trees.folder / "sites.yaml").write_text("metal: {cloud: metal, is_baremetal: true, ramdisk: aki-ari}")
    trees.environment["OS_CLIENT_CONFIG_FILE"] = str(bed.clouds)
    for _ in range(2):
        code, output = trees.run("-b", "-p", "-f", "cc-tiny-ramdisk")
        assert code == 0, output
        site = GlanceSite(Site(name="metal", cloud="metal"), Format.KERNEL)
        (kernel,), (initramfs,) = (site.find(f"CC-Tiny-Ramdisk.{each}") for each in ("kernel", "initramfs"))
        assert initramfs.properties["kernel_id"] == kernel.id
        assert kernel.properties["ramdisk_id"] == initramfs.id
        assert (kernel.disk_format, initramfs.disk_format) == ("aki", "ari")
        assert kernel.properties["build-version"] == initramfs.properties["build-version"]
    code, output = trees.run("-b", "-p", "cc-tiny-ramdisk")
    assert code == 0, output
    assert [each.id for each in site.find("CC-Tiny-Ramdisk.kernel")] == [kernel.id]
    said = json.loads(trees.run("status", "--sites", "--json", "cc-tiny-ramdisk")[1])
    assert said, "both halves are shown"
    for name in ("CC-Tiny-Ramdisk.kernel", "CC-Tiny-Ramdisk.initramfs"):
        for entry in site.observe(name):
            site.call("DELETE", f"/images/{entry.id}", fine=(404,))


def test_elements_that_make_their_own_ramdisk(trees: Project, tiny_root: Path) -> None:
    text = CATALOGUE.replace("TINY_ROOT_URL", tiny_root.as_uri()).replace("tiny-kernel", "tiny-ramdisk")
    (trees.folder / "images.yaml").write_text(text)
    code, output = trees.run("-b", "cc-tiny-ramdisk")
    assert code == 0, output
    assert (trees.store / "images/CC-Tiny-Ramdisk.kernel").read_text() == "a kernel of the elements' own\n"
    assert (trees.store / "images/CC-Tiny-Ramdisk.initramfs").read_text() == "an initramfs of the elements' own\n"
    trees.assert_no_leftovers()
