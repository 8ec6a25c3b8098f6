"""Judges of what we write that take their time: dib-lint for elements, qemu-img for a large disk."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cc_images.config.loader import packaged
from cc_images.host.root import TOOLBOX
from cc_images.outputs import qcow2, qcow2_layout


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing")
def test_clusters_enough_for_a_second_block_of_refcounts(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(1 << 20)
    clusters = qcow2_layout.COUNTS + 5
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        for number in range(clusters * qcow2_layout.CLUSTER >> 20):
            file.write(number.to_bytes(8, "big") + noise[8:])
    target = tmp_path / "qcow2"
    qcow2.write(raw, target, cores=2, stop=threading.Event())
    subprocess.run(["qemu-img", "check", "-f", "qcow2", str(target)], check=True)


@pytest.mark.parametrize("folder", [packaged("elements"), TOOLBOX / "elements"], ids=["elements", "toolbox"])
def test_dib_lint_finds_nothing_in_our_elements(folder: Path) -> None:
    lint = Path(sys.executable).with_name("dib-lint")
    path = f"{lint.parent}:{os.environ['PATH']}"
    said = subprocess.run(
        [lint],
        cwd=folder,
        env={**os.environ, "ELEMENTS_DIR": str(folder), "LIB_DIR": str(folder), "PATH": path},
        capture_output=True,
        text=True,
    )
    wrong = [line for line in said.stdout.splitlines() if not line.startswith(("Parsing", "Checking"))]
    assert said.returncode == 0, "\n".join(wrong)
