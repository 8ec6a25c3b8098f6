"""qcow2 of our own: QEMU reads the same disk in it, and the bytes depend on the disk alone."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from cc_images.errors import CCImagesError, Interrupted
from cc_images.host.files import Written
from cc_images.model.catalog import Format
from cc_images.outputs import disk, qcow2, qcow2_layout

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing")

REGION = qcow2_layout.CLUSTER * qcow2_layout.ENTRIES
"""Bytes of a disk for which there is one L2 table."""


def written(raw: Path, target: Path, cores: int = 2) -> Written:
    return qcow2.write(raw, target, cores=cores, stop=threading.Event())


def disk_of(path: Path, size: int, parts: dict[int, bytes]) -> Path:
    """Write a sparse file that holds some parts."""
    with path.open("wb") as file:
        file.truncate(size)
        for place, content in parts.items():
            file.seek(place)
            file.write(content)
    return path


RANDOM = random.Random(7).randbytes(3 * qcow2_layout.CLUSTER)
DISKS = {
    "empty": (0, {}),
    "nothing but a hole": (3 * qcow2_layout.CLUSTER, {}),
    "less than a cluster": (512, {0: b"x" * 512}),
    "text and noise": (10 << 20, {0: b"text " * 50_000, 1 << 20: RANDOM, (4 << 20) + 512: b"y" * 70_000}),
    "zeros that were written": (1 << 20, {0: bytes(1 << 20)}),
    "several regions": (3 * REGION + 512, {0: b"a", REGION - 1: b"bc", 3 * REGION: b"d" * 512}),
}


@pytest.mark.parametrize("name", DISKS)
def test_a_seed_changes_no_byte(name: str, tmp_path: Path) -> None:
    size, parts = DISKS[name]
    raw, plain, again = disk_of(tmp_path / "raw", size, parts), tmp_path / "plain", tmp_path / "again"
    found = written(raw, plain)
    assert qcow2.write(raw, again, cores=2, stop=threading.Event(), seed=plain) == found
    changed = disk_of(tmp_path / "changed", size + qcow2_layout.CLUSTER, {**parts, size: b"more"})
    with_seed, without = tmp_path / "with", tmp_path / "without"
    assert qcow2.write(changed, with_seed, cores=2, stop=threading.Event(), seed=plain) == written(changed, without)


def test_what_has_not_changed_is_not_compressed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"".join(b"%d " % number * 9000 for number in range(40))
    raw, seed = disk_of(tmp_path / "raw", 4 << 20, {0: content}), tmp_path / "seed"
    written(raw, seed)
    compressed: list[int] = []
    real = zstandard.ZstdCompressor

    class Counting:
        def __init__(self, **how: Any) -> None:
            self.real = real(**how)

        def compress(self, cluster: bytes) -> bytes:
            compressed.append(len(cluster))
            return self.real.compress(cluster)

    monkeypatch.setattr(zstandard, "ZstdCompressor", Counting)
    with raw.open("r+b") as file:
        file.seek(3 * qcow2_layout.CLUSTER + 5)
        file.write(b"changed")
    found = qcow2.write(raw, tmp_path / "new", cores=2, stop=threading.Event(), seed=seed)
    assert len(compressed) == 1
    assert found == written(raw, tmp_path / "anew")


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:50],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"no qcow2" * 100_000,
        lambda whole: whole[:70_000] + bytes(9000) + whole[79_000:],
        lambda whole: whole[:36] + b"\xff" * 12 + whole[48:],
    ],
)
def test_a_damaged_seed_is_no_help_and_no_harm(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    size, parts = DISKS["text and noise"]
    raw, seed = disk_of(tmp_path / "raw", size, parts), tmp_path / "seed"
    found = written(raw, seed)
    seed.write_bytes(damage(seed.read_bytes()))
    assert qcow2.write(raw, tmp_path / "new", cores=2, stop=threading.Event(), seed=seed) == found
    assert qcow2.write(raw, tmp_path / "new", cores=2, stop=threading.Event(), seed=tmp_path / "none") == found


@pytest.mark.parametrize("name", DISKS)
def test_qemu_reads_the_same_disk(name: str, tmp_path: Path) -> None:
    size, parts = DISKS[name]
    raw, target = disk_of(tmp_path / "raw", size, parts), tmp_path / "qcow2"
    found = written(raw, target)
    subprocess.run(["qemu-img", "check", "-f", "qcow2", str(target)], check=True)
    assert disk.same(raw, Format.RAW, target, Format.QCOW2, stop=threading.Event())
    content = target.read_bytes()
    assert found == Written(
        digest=hashlib.sha256(content).hexdigest(), sha512=hashlib.sha512(content).hexdigest(), size=len(content)
    )
    assert len(content) % qcow2_layout.CLUSTER == 0


def test_the_same_bytes_whatever_the_cores_and_the_holes(tmp_path: Path) -> None:
    parts = {0: os.urandom(100) * 30_000, 5 << 20: RANDOM, 9 << 20: bytes(1 << 20)}
    sparse = disk_of(tmp_path / "sparse", 20 << 20, parts)
    full = tmp_path / "full"
    full.write_bytes(sparse.read_bytes())
    digests = {
        written(raw, tmp_path / f"{raw.name}-{cores}", cores).digest for raw in (sparse, full) for cores in (1, 2, 7)
    }
    assert len(digests) == 1


def test_no_larger_than_what_qemu_writes(tmp_path: Path) -> None:
    text = b"".join(f"line {number} of a log\n".encode() for number in range(300_000))
    raw = disk_of(tmp_path / "raw", 64 << 20, {0: text, 30 << 20: RANDOM})
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    written(raw, ours)
    options = ("-O", "qcow2", "-c", "-o", "compression_type=zstd")
    subprocess.run(["qemu-img", "convert", "-f", "raw", *options, str(raw), str(theirs)], check=True)
    assert ours.stat().st_size <= theirs.stat().st_size


def test_a_run_that_is_stopped(tmp_path: Path) -> None:
    raw = disk_of(tmp_path / "raw", 20 << 20, {0: RANDOM})
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        qcow2.write(raw, tmp_path / "qcow2", cores=2, stop=stop)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is missing")
def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    raw, target = disk_of(tmp_path / "raw", 20 << 20, {0: RANDOM}), tmp_path / "full"
    target.symlink_to("/dev/full")
    source = disk.Source(file=raw, format=Format.RAW, virtual_size=20 << 20)
    with pytest.raises(CCImagesError, match="no space left for full") as caught, Path(os.devnull).open("wb") as log:
        disk.convert(source, target, Format.QCOW2, cores=1, log=log, stop=threading.Event())
    assert "CC_IMAGES_STORE" in caught.value.hint
