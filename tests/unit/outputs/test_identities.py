"""VMDK and VHD: QEMU reads the same disk in them, and the same disk has the same bytes."""

from __future__ import annotations

import shutil
import subprocess
import threading
import uuid
from pathlib import Path

import pytest

from cc_images.model.catalog import Format
from cc_images.outputs import disk, identities
from cc_images.outputs.disk import Source

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing")

FORMATS = [Format.VMDK, Format.VHD]


def written(source: Path, target: Path, wanted: Format, cores: int, form: Format = Format.RAW) -> bytes:
    with target.with_suffix(".log").open("wb") as log:
        made = Source(file=source, format=form, virtual_size=0)
        disk.convert(made, target, wanted, cores=cores, log=log, stop=threading.Event())
    return target.read_bytes()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    file = tmp_path / "raw"
    file.write_bytes(b"text " * 300_000 + bytes(5 << 20) + b"end" * (512 * 100))
    file.open("r+b").truncate(9 << 20)
    return file


@pytest.mark.parametrize("wanted", FORMATS)
def test_the_same_disk_has_the_same_bytes(tmp_path: Path, raw: Path, wanted: Format) -> None:
    one = written(raw, tmp_path / "one", wanted, 1)
    assert written(raw, tmp_path / "two", wanted, 4) == one
    assert wanted in disk.EXACT
    assert disk.same(raw, Format.RAW, tmp_path / "one", wanted, stop=threading.Event())
    subprocess.run(["qemu-img", "info", "-f", wanted.qemu, tmp_path / "one"], check=True, capture_output=True)


@pytest.mark.parametrize("wanted", FORMATS)
def test_it_is_made_from_a_stored_qcow2_too(tmp_path: Path, raw: Path, wanted: Format) -> None:
    qcow2 = tmp_path / "qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, qcow2], check=True)
    assert written(qcow2, tmp_path / "one", wanted, 2, Format.QCOW2) == written(raw, tmp_path / "two", wanted, 2)


def test_a_vhd_has_a_valid_footer(tmp_path: Path, raw: Path) -> None:
    made = written(raw, tmp_path / "vhd", Format.VHD, 1)
    for footer in (made[:512], made[-512:]):
        said = int.from_bytes(footer[64:68], "big")
        assert ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF == said
        assert uuid.UUID(bytes=footer[68:84]).version == 5


@pytest.mark.parametrize("number", [b"1234abcd", b"7"])
def test_a_content_number_of_any_length_is_settled(tmp_path: Path, number: bytes) -> None:
    file = tmp_path / "vmdk"
    text = b"# Disk DescriptorFile\nversion=1\nCID=" + number + b'\nRW 8 SPARSE "some where"\n'
    file.write_bytes(bytes(512) + text.ljust(1536, b"\0"))
    identities.settle_vmdk(file)
    settled = b'# Disk DescriptorFile\nversion=1\nCID=fffffffe\nRW 8 SPARSE "disk.vmdk"\n'
    assert file.read_bytes() == bytes(512) + settled.ljust(1536, b"\0")


@pytest.mark.parametrize("settle", identities.SETTLE.values())
def test_a_file_that_is_none_is_said(tmp_path: Path, settle: object) -> None:
    assert callable(settle)
    file = tmp_path / "file"
    file.write_bytes(bytes(2048))
    with pytest.raises(ValueError, match="has no"):
        settle(file)
