"""The look inside: all file systems of a disk by its fstab, and what cannot be read is told."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pytest

from cc_images.boottest import hygiene, inspector
from cc_images.model.catalog import Json
from tests.unit.boottest.test_installed import BASH, header, named, sqlite

MIB = 1 << 20


def disk(folder: Path, fstab: str, *, swap: bool = False, luks: bool = False) -> Path:
    """Make a disk with a root file system, one for /var with a secret, and more if asked for."""
    parts: list[Path] = []
    for number, files in enumerate(
        ({"etc/os-release": "ID=test\n", "etc/fstab": fstab, "var/x": "", "home/x": "", "mnt/x": "", PIPPED: METADATA},
         {"lib/agent/token": "s3cr3t-token", "lib/dpkg/status": STATUS}), start=1
    ):  # fmt: skip
        tree = folder / f"tree{number}"
        for name, text in files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        parts.append(folder / f"part{number}")
        label = ("root", "var")[number - 1]
        subprocess.run(["truncate", "-s", "16M", parts[-1]], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-L", label, "-d", tree, parts[-1]], check=True)
    if swap or luks:
        parts.append(folder / "part3")
        subprocess.run(["truncate", "-s", "16M", parts[-1]], check=True)
        if swap:
            subprocess.run(["mkswap", parts[-1]], check=True, capture_output=True)
        else:
            parts[-1].write_bytes(b"LUKS\xba\xbe\x00\x01".ljust(16 * MIB, b"\0"))
    whole = folder / "disk.raw"
    with whole.open("wb") as file:
        for number, part in enumerate(parts):
            file.seek((1 + 16 * number) * MIB)
            file.write(part.read_bytes())
        file.truncate((2 + 16 * len(parts)) * MIB)
    table = "label: gpt\n" + "".join(f"start={(1 + 16 * n) * 2048}, size={16 * 2048}\n" for n in range(len(parts)))
    subprocess.run(["sfdisk", "-q", whole], input=table, check=True, text=True)
    return whole


STATUS = "Package: one\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n"
PIPPED = "usr/local/lib/python3.11/dist-packages/two-2.dist-info/METADATA"
METADATA = "Metadata-Version: 2.1\nName: two\nVersion: 2\n"


def look(folder: Path, fstab: str, **more: bool) -> Json:
    folder.mkdir()
    image = disk(folder, fstab, **more)
    with (folder / "log").open("wb") as log:
        return inspector.look(
            image, folder / "work", secrets=["s3cr3t-token"], guards=folder / "guards", log=log, stop=threading.Event()
        )


@pytest.mark.parametrize("spec", ["LABEL=var", "/dev/vda2", "/dev/nvme0n1p2"])
def test_a_file_system_of_its_own_is_read_where_fstab_wants_it(tmp_path: Path, spec: str) -> None:
    facts = look(tmp_path / "x", f"LABEL=root / ext4 defaults 0 1\n{spec} /var ext4 defaults 0 2\n")
    assert (facts["mounted"], facts["unread"]) == (["/var"], [])
    assert facts["leaking"] == ["/var/lib/agent/token"]
    assert facts["packages"] == {"one": "1"}
    assert [(each["type"], each["name"], each["version"]) for each in facts["installed"]] == [
        ("deb", "one", "1"), ("pypi", "two", "2"),
    ]  # fmt: skip


def test_one_that_fstab_does_not_name_is_read_too_and_swap_is_nothing(tmp_path: Path) -> None:
    facts = look(tmp_path / "x", "LABEL=root / ext4 defaults 0 1\n", swap=True)
    assert (facts["mounted"], facts["unread"]) == (["/mnt"], [])
    assert facts["leaking"] == ["/mnt/lib/agent/token"]


def test_what_cannot_be_read_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    facts = look(tmp_path / "x", "LABEL=var /var ext4 defaults 0 2\nUUID=1-2 /data ext4 defaults 0 2\n", luks=True)
    told = [each.partition(":")[0] for each in facts["unread"]]
    assert told == ["partition 3 (crypto_LUKS) at /mnt", "UUID=1-2 at /data"], json.dumps(facts["unread"])
    assert sum("not looked into" in each for each in hygiene.problems(facts)) == 2
    assert not [each for each in hygiene.problems(facts, allowed=("unread-partitions",)) if "not looked into" in each]


def test_rpms_database_is_read_in_the_sandbox(tmp_path: Path) -> None:
    (tmp_path / "x/tree1/var/lib/rpm").mkdir(parents=True)
    sqlite(tmp_path / "x/tree1", header(BASH))
    image = disk(tmp_path / "x", "LABEL=root / ext4 defaults 0 1\n")
    with (tmp_path / "log").open("wb") as log:
        facts = inspector.look(image, tmp_path / "work", guards=tmp_path / "guards", log=log, stop=threading.Event())
    assert "rpm bash 5.1.8-6.el9" in named(facts["installed"])


def test_a_mount_point_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "tree1").mkdir()
    (folder / "tree1" / "data").symlink_to("/etc")
    image = disk(folder, "LABEL=var /data ext4 defaults 0 2\n")
    with (folder / "log").open("wb") as log:
        facts = inspector.look(image, folder / "work", guards=folder / "guards", log=log, stop=threading.Event())
    assert facts["mounted"] == []
    assert facts["unread"][0].startswith("partition 2 (ext4) at /data")
