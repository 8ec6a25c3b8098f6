"""Formats: two files hold the same disk, or they do not."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from cc_images.host.process import CommandFailed
from cc_images.model.catalog import Format
from cc_images.outputs import disk

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing")


def test_the_same_disk_in_two_formats(tmp_path: Path) -> None:
    raw, qcow2 = tmp_path / "raw", tmp_path / "qcow2"
    raw.write_bytes(os.urandom(1 << 20) + bytes(1 << 20))
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", str(raw), str(qcow2)]
    subprocess.run(command, check=True)
    assert disk.same(qcow2, Format.QCOW2, raw, Format.RAW, stop=threading.Event())
    with raw.open("r+b") as file:
        file.seek(1000)
        other = file.read(1)[0] ^ 1
        file.seek(1000)
        file.write(bytes([other]))
    assert not disk.same(qcow2, Format.QCOW2, raw, Format.RAW, stop=threading.Event())
    with pytest.raises(CommandFailed):
        disk.same(tmp_path / "nothing", Format.QCOW2, raw, Format.RAW, stop=threading.Event())
