"""Disks that are put together here: several file systems, the same bytes twice, and proof by a rebuild elsewhere."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_files
from tests.real.conftest import Project, Watched

LAYOUT = """\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: ESP, type: EF00, size: 64MiB,
         mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {options: umask=0077, fsck-passno: 2}}}}
      - {name: BSP, type: EF02, size: 8MiB}
      - {name: swap, type: "8200", size: 32MiB, mkfs: {type: swap, mount: {mount_point: swap, fstab: {options: sw}}}}
      - {name: var, type: "8300", size: 200MiB, mkfs: {type: ext4, mount: {mount_point: /var, fstab: {}}}}
      - {name: root, type: "8300", size: 100%, mkfs: {type: ext4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
"""

CATALOGUE = """\
CC-Files:
  elements: [tiny-os, tiny-files]
  disk: [block-device-gpt, tiny-disk]
  formats: [raw, qcow2]
  artifacts: {{DIB_TINY_ROOT: {{url: "{root}"}}}}
  environment: {{DIB_BLOCK_DEVICE_CONFIG: "file://{layout}", DIB_IMAGE_SIZE: "1"}}
  checks: {{}}
"""


@pytest.fixture
def files(project: Project, tiny_root: Path) -> Project:
    """Return a project with a disk of five partitions; its element dpkg needs no Python in the tree."""
    links = (project.folder / "elements").resolve()
    (project.folder / "elements").unlink()
    (project.folder / "elements" / "dpkg").mkdir(parents=True)
    for element in links.iterdir():
        (project.folder / "elements" / element.name).symlink_to(element)
    layout = project.folder / "layout.yaml"
    layout.write_text(LAYOUT)
    images = CATALOGUE.format(root=tiny_root.as_uri(), layout=layout)
    write_files(project.folder, images=images, sites="local: {directory: site, is_baremetal: true}")
    return project


def built(project: Project, *words: str, tag: str = "cc-files", name: str = "CC-Files") -> Path:
    """Build an image and return its raw file."""
    code, output = project.run("-b", *words, tag)
    assert code == 0, output
    assert "dib makes the disk" not in output
    made = project.store / "images" / f"{name}.raw"
    return made.resolve()


def partitions(raw: Path) -> dict[str, dict[str, Any]]:
    said = subprocess.run(["sfdisk", "--json", raw], check=True, capture_output=True).stdout
    return {each["name"]: each for each in json.loads(said)["partitiontable"]["partitions"]}


def debugfs(raw: Path, partition: dict[str, Any], words: str) -> str:
    place = f"{raw}?offset={partition['start'] * 512}"
    return subprocess.run(["debugfs", "-R", words, place], check=True, capture_output=True, text=True).stdout


def part_of(raw: Path, partition: dict[str, Any], folder: Path) -> Path:
    """Copy a partition out of a disk."""
    target = folder / str(partition["name"])
    with raw.open("rb") as source, target.open("wb") as copy:
        source.seek(partition["start"] * 512)
        copy.write(source.read(partition["size"] * 512))
    return target


def test_a_disk_with_five_partitions_holds_what_the_tree_held(files: Project, tmp_path: Path) -> None:
    raw = built(files)
    table = partitions(raw)
    assert list(table) == ["ESP", "BSP", "swap", "var", "root"]
    for name in ("var", "root"):
        found = part_of(raw, table[name], tmp_path)
        subprocess.run(["e2fsck", "-fn", found], check=True, capture_output=True)
    subprocess.run(["fsck.vfat", "-n", part_of(raw, table["ESP"], tmp_path)], check=True, capture_output=True)
    root, var = table["root"], table["var"]
    assert debugfs(raw, root, "cat /etc/fstab").splitlines() == [
        "LABEL=cloudimg-rootfs / ext4 defaults 0 1",
        "LABEL=MKFS_ESP /boot/efi vfat umask=0077 0 2",
        "LABEL=mkfs_var /var ext4 defaults 0 2",
        "LABEL=mkfs_swap none swap sw 0 0",
    ]
    assert debugfs(raw, var, "cat /files/300").strip() == "300"
    assert "Mode:  0755" in debugfs(raw, root, "stat /var"), "the mount point is there, and empty"
    top = debugfs(raw, var, "stat /")
    assert "Mode:  02775" in top
    assert re.search(r"Group: +12 ", top)
    one, hard = (re.search(r"Inode: (\d+)", debugfs(raw, root, f"stat /opt/files/{name}")) for name in ("one", "hard"))
    assert one is not None
    assert hard is not None
    assert one[1] == hard[1]
    said = debugfs(raw, root, "stat /opt/files/one")
    assert "Mode:  04755" in said
    assert "Links: 2" in said
    holes = debugfs(raw, root, "stat /opt/files/holes")
    assert re.search(r"User: +1234 +Group: +5678", holes)
    blocks = re.search(r"Blockcount: (\d+)", holes)
    assert blocks is not None
    assert int(blocks[1]) < 100, "holes stay holes"
    assert 'Fast link dest: "one"' in debugfs(raw, root, "stat /opt/files/soft")
    swap = subprocess.run(["blkid", "-p", part_of(raw, table["swap"], tmp_path)], capture_output=True, text=True).stdout
    assert 'TYPE="swap"' in swap
    assert 'LABEL="mkfs_swap"' in swap


@pytest.mark.deep
def test_the_same_bytes_from_another_folder_on_one_core_by_another_host_name(files: Project, tmp_path: Path) -> None:
    raw = built(files)
    elsewhere = replace(files, folder=tmp_path / "another place")
    elsewhere.folder.mkdir()
    for name in ("images.yaml", "sites.yaml", "third-party.yaml"):
        shutil.copy(files.folder / name, elsewhere.folder)
    (elsewhere.folder / "elements").symlink_to((files.folder / "elements").resolve())
    elsewhere.environment = elsewhere.environment | {"CC_IMAGES_STORE": str(elsewhere.store)}
    words = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec taskset -c 0 "$@"', "sh"]
    command = [*words, sys.executable, "-m", "cc_images", "-b", "-t", "4", "cc-files"]
    done = subprocess.run(command, cwd=elsewhere.folder, env=elsewhere.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for ending in ("raw", "qcow2"):
        one = (files.store / "images" / f"CC-Files.{ending}").resolve().name
        other = (elsewhere.store / "images" / f"CC-Files.{ending}").resolve().name
        assert one == other, f"the digests of the {ending} files"
    assert raw.exists()
    code, output = files.run("verify", "cc-files")
    assert (code, ": identical\n" in output) == (0, True), output
    assert "tools disk-tools amd64" in output, "nothing was reused"


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.deep)])
def test_a_kill_while_the_disk_is_put_together_leaves_nothing(files: Project, number: signal.Signals) -> None:
    moment = random.uniform(0, 2)
    print(f"killed {moment:.2f} s after the last hooks began")
    run = Watched(files.start("-b", "cc-files"))
    run.wait_for(r"^\[build .* cleanup\.d", 120)
    time.sleep(moment)
    run.end(number)
    files.assert_nothing_leaked()
    built(files)
    files.assert_no_leftovers()
