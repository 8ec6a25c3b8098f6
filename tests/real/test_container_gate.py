"""The gate for containers: tiny images are looked into, started, asked and stopped, and nothing of them is left."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cc_images.boottest.container_test import ContainerTest
from cc_images.boottest.verdict import BootTestResult
from cc_images.model.catalog import Arch, Checks, Format, Level
from cc_images.model.container import Configuration, Trial
from cc_images.model.plan import BootJob
from tests.support import containers
from tests.support.containers import Entry, Layer, archive, base, sif_file

pytestmark = pytest.mark.skipif(bool(containers.lacking()), reason=f"missing: {', '.join(containers.lacking())}")

SH = ("/bin/sh", "-c")


class Gate:
    """The test of containers in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stop = threading.Event()
        self.count = 0

    def run(
        self, image: Path, trial: Trial | None = None, checks: Checks | None = None, form: Format = Format.OCI
    ) -> BootTestResult:
        self.count += 1
        job = BootJob(
            name="CC-X", tag="cc-x", arch=Arch.AMD64, version="1", formats=(form,), firmware=(), checks=checks or {},
            test_key="k", trial=trial or Trial(limit=20), allow=("passwords",),
        )  # fmt: skip
        place = self.folder / f"test-{self.count}"
        with (self.folder / f"log-{self.count}").open("wb") as log:
            return ContainerTest(
                job=job, image=image, form=form, folder=place, guards=self.folder / "guards", log=log, stop=self.stop,
                report=lambda what: None, secrets=("hunter2secret",),
            ).run()  # fmt: skip

    def tried(self, said: Configuration, *layers: Layer, trial: Trial | None = None, checks: Checks | None = None
              ) -> BootTestResult:  # fmt: skip
        image = archive(self.folder / f"image-{self.count}.oci.tar", said, *(layers or (base(),)))
        return self.run(image, trial, checks)

    def log(self) -> str:
        return (self.folder / f"log-{self.count}").read_text()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line]
    assert not mounts
    assert not processes(str(tmp_path)), "all that it has started is gone"
    assert not [path for path in tmp_path.glob("test-*/*/scratch") if path.exists()]


def processes(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in words and path.parent.name != str(os.getpid()):
            found.append(words)
    return found


def words(verdict: BootTestResult) -> str:
    assert not verdict.passed
    return verdict.words


def test_a_container_that_ends_with_0_has_started(gate: Gate) -> None:
    verdict = gate.tried(Configuration(entrypoint=(*SH, 'echo "hello $0 $1"; exit 0'), command=("a", "b c")))
    assert verdict.passed, verdict.words
    assert verdict.level is Level.CHECKS
    assert "hello a b c" in gate.log()


def test_a_container_that_fails_says_its_code_and_its_last_lines(gate: Gate) -> None:
    verdict = gate.tried(Configuration(command=(*SH, "echo no such model; exit 3")))
    assert verdict.failed is Level.STARTS
    assert words(verdict) == "starts: `/bin/sh -c 'echo no such model; exit 3'` ended with code 3 (oci)"
    assert verdict.tail == ("no such model",)
