"""Disks put together from trees: layout, identifiers, times, sizes, and GRUB's place."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cc_images.host.root import TOOLBOX
from cc_images.toolbox.disk import boot, epoch, layout, measure

EFI: list[dict[str, Any]] = [
    {"local_loop": {"name": "image0"}},
    {"fstab": {"base": "mount_mkfs_ESP", "name": "fstab_ESP", "options": "defaults", "fsck-passno": 2}},
    {"mount": {"base": "mkfs_ESP", "name": "mount_mkfs_ESP", "mount_point": "/boot/efi"}},
    {"mkfs": {"base": "ESP", "name": "mkfs_ESP", "type": "vfat"}},
    {"fstab": {"base": "mount_mkfs_root", "name": "fstab_root", "options": "defaults", "fsck-passno": 1}},
    {"mount": {"base": "mkfs_root", "name": "mount_mkfs_root", "mount_point": "/"}},
    {"mkfs": {"base": "root", "name": "mkfs_root", "type": "ext4", "label": "cloudimg-rootfs"}},
    {
        "partitioning": {
            "base": "image0",
            "label": "gpt",
            "partitions": [
                {"name": "ESP", "type": "EF00", "size": "550MiB", "base": "image0"},
                {"name": "BSP", "type": "EF02", "size": "8MiB", "base": "image0"},
                {"name": "root", "type": 8300, "size": "100%", "base": "image0"},
            ],
        }
    },
]
"""What dib makes of its own block-device-efi."""

SIZE = 2378432512
"""A disk that dib made of it had partitions of these sectors: 2048+1126400, 1128448+16384, 1144832+3497984."""


def mbr(*partitions: dict[str, Any]) -> list[dict[str, Any]]:
    table = {"base": "image0", "label": "mbr", "partitions": list(partitions)}
    return [{"local_loop": {"name": "image0"}}, {"partitioning": table}]


# -- layout ------------------------------------------------------------------------------------------------------------


def test_partitions_are_where_dib_puts_them() -> None:
    found = layout.disk(EFI, SIZE, "key")
    places = [(each.name, each.start // 512, each.size // 512) for each in found.partitions]
    assert places == [("ESP", 2048, 1126400), ("BSP", 1128448, 16384), ("root", 1144832, 3497984)]
    assert [each.type for each in found.partitions] == [layout.GPT_TYPES[name] for name in ("EF00", "EF02", "8300")]


def test_fstab_is_the_one_that_dib_writes() -> None:
    found = layout.disk(EFI, SIZE, "key")
    assert found.fstab == ("LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=MKFS_ESP /boot/efi vfat defaults 0 2\n")
    assert [each.mount_point for each in found.filesystems] == ["/", "/boot/efi"]


def test_identifiers_follow_from_the_key_and_nothing_else() -> None:
    one, same, other = (layout.disk(EFI, SIZE, key) for key in ("key", "key", "another"))
    assert one == same
    ids = [each.uuid for each in one.partitions] + [one.id]
    ids += [text for each in one.filesystems for text in (each.uuid, each.seed)]
    assert len(set(ids)) == len(ids)
    assert not {*ids} & {each.uuid for each in other.partitions}
    assert len(one.filesystems[1].uuid) == 8, "FAT has a serial number of 32 bits"


def test_swap_is_in_fstab_and_holds_no_files() -> None:
    config = [
        *mbr(
            {"name": "root", "size": "50%", "flags": ["boot", "primary"]},
            {"name": "swap", "size": "64MiB", "flags": ["primary"], "type": "0x82"},
        ),
        {"mkfs": {"base": "root", "name": "mkfs_root", "type": "ext4", "label": "r"}},
        {"mkfs": {"base": "swap", "name": "mkfs_swap", "type": "swap"}},
        {"mount": {"base": "mkfs_root", "name": "m", "mount_point": "/"}},
        {"mount": {"base": "mkfs_swap", "name": "s", "mount_point": "swap"}},
        {"fstab": {"base": "m", "name": "f"}},
        {"fstab": {"base": "s", "name": "g"}},
    ]
    found = layout.disk(config, 1 << 30, "key", "-i 4096")
    assert found.fstab == "LABEL=r / ext4 defaults 0 2\nLABEL=mkfs_swap none swap sw 0 0\n"
    assert [each.name for each in found.filesystems] == ["mkfs_root"]
    assert found.partitions[0].bootable
    assert not found.partitions[1].bootable
    assert found.partitions[1].start % (1 << 20) == 0
    assert found.filesystems[0].options == ("-i", "4096"), "options for the root that the config does not give"
    assert found.id.startswith("0x")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([*EFI, {"lvm": {}}], "the layout has lvm"),
        (EFI[:-1], "not one disk with one partition table"),
        (mbr({"name": "a", "size": "2GiB", "flags": ["primary"]}), "partition a does not fit"),
        (mbr({"name": "a", "size": "2XB", "flags": ["primary"]}), "2XB is no size"),
    ],
)
def test_what_is_not_known_is_refused(config: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        layout.disk(config, 1 << 30, "key")


@pytest.mark.skipif(shutil.which("sfdisk") is None, reason="sfdisk is missing")
@pytest.mark.parametrize("config", [EFI, mbr({"name": "root", "size": "100%", "flags": ["boot", "primary"]})])
def test_sfdisk_understands_the_table(config: list[dict[str, Any]], tmp_path: Path) -> None:
    found = layout.disk(config, SIZE, "key")
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.truncate(found.size)
    subprocess.run(["sfdisk", "-q", str(raw)], input=found.table, text=True, check=True)
    said = json.loads(subprocess.run(["sfdisk", "--json", str(raw)], capture_output=True, check=True).stdout)
    table = said["partitiontable"]
    assert table["id"].lower() == found.id.lower()
    assert [(each["start"] * 512, each["size"] * 512) for each in table["partitions"]] == [
        (each.start, each.size) for each in found.partitions
    ]


# -- times and sizes ---------------------------------------------------------------------------------------------------


def test_the_epoch_is_the_newest_time_of_the_packages(tmp_path: Path) -> None:
    listed = tmp_path / "var/lib/dpkg/info/some.md5sums"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{'0' * 32}  {name}\n" for name in ("old", "new", "changed by the build", "gone")))
    for name, time in (("old", 1_750_000_000), ("new", 1_760_000_000), ("changed by the build", 1_900_000_000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    found = epoch.of(str(tmp_path), began=1_890_000_000)
    assert found == 1_760_000_000
    (tmp_path / "link").symlink_to("old")
    epoch.clamp(str(tmp_path), found)
    times = {path.name: path.lstat().st_mtime for path in (tmp_path, *tmp_path.rglob("*"))}
    assert max(times.values()) == found
    assert times["old"] == 1_750_000_000
    assert epoch.of(str(tmp_path / "nothing"), began=1_890_000_000) == epoch.FIRST


def test_a_tree_has_one_size_on_every_file_system(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "exact").write_bytes(b"x" * 4096)
    os.link(tmp_path / "exact", tmp_path / "again")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("small")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"x" * 5000)
    assert measure.size(str(tmp_path)) == 4096 * (2 + 1 + 1 + 2)
    said = subprocess.run(
        [sys.executable, "-I", str(TOOLBOX / "disk/measure.py"), str(tmp_path)], capture_output=True, text=True
    )
    assert said.stdout == f"24\t{tmp_path}\n", "as du prints it, in KiB"


# -- GRUB for BIOS -----------------------------------------------------------------------------------------------------


def grub_boot() -> bytes:
    return b"\xeb\x63\x90" + bytes(507) + b"\x55\xaa"


def test_grub_is_written_where_its_boot_image_looks() -> None:
    table = os.urandom(510 - boot.CODE_END)
    disk = io.BytesIO(bytes(boot.CODE_END) + table + b"\x55\xaa" + bytes(1 << 20))
    core = os.urandom(1300)
    boot.install(disk, grub_boot(), core, 2048 * 512, 100 * 512)
    first = disk.getvalue()[:512]
    assert first[boot.CODE_END : 510] == table, "the partition table stays"
    assert struct.unpack_from("<Q", first, 0x5C)[0] == 2048
    written = disk.getvalue()[2048 * 512 :]
    assert struct.unpack_from("<QH", written, 512 - 12) == (2049, 2), "where the rest is, and its sectors"
    assert written[512 : len(core)] == core[512:]


def test_grub_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="room for 1024"):
        boot.install(io.BytesIO(), grub_boot(), bytes(2000), 512, 1024)
    with pytest.raises(ValueError, match=r"boot\.img is no boot image"):
        boot.install(io.BytesIO(), bytes(512), bytes(100), 512, 1024)
