"""Which programs of this host a disk's layout takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc_images.builders.dib import disk_layout
from cc_images.builders.dib.elements import Elements, own_elements

XFS = """\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: ESP, type: EF00, size: 64MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi}}}
      - {name: root, type: '8300', size: 100%, mkfs: {type: xfs, mount: {mount_point: /}}}
"""


@pytest.fixture
def elements() -> Elements:
    """Return dib's own elements."""
    return Elements((own_elements(),))


def test_dibs_own_layouts(elements: Elements) -> None:
    assert disk_layout.programs(elements, ["block-device-efi", "vm"]) == ("mkfs.ext4", "mkfs.vfat", "sgdisk")
    assert disk_layout.programs(elements, ["block-device-mbr"]) == ("mkfs.ext4",)
    assert "pvcreate" in disk_layout.programs(elements, ["block-device-efi-lvm"])


def test_a_layout_in_a_variable_wins(elements: Elements, tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text(XFS)
    wanted = ("mkfs.vfat", "mkfs.xfs", "sgdisk")
    for value in (XFS, f"file://{tmp_path / 'layout.yaml'}"):
        assert disk_layout.programs(elements, ["block-device-efi"], value) == wanted
    assert disk_layout.programs(elements, ["block-device-mbr"], kind="btrfs") == ("mkfs.btrfs", "mkfs.ext4")


@pytest.mark.parametrize("text", ["[", "- mkfs: 7", "- mkfs:", "7", "a: &a [*a]", "file:///nowhere"])
def test_what_cannot_be_read_is_for_dib_to_say(elements: Elements, text: str) -> None:
    disk_layout.programs(elements, [], text)


def test_what_is_missing_is_named_with_its_package() -> None:
    assert disk_layout.lacking(["mkfs.xfs", "mkfs.zfs"], ["/nonexistent"]) == [
        "mkfs.xfs (package xfsprogs)",
        "mkfs.zfs",
    ]
