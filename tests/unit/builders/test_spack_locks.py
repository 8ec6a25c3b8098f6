"""Locks of packages: alone, shared, in order, and gone with their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cc_images.builders.spack.package_locks import PackageLocks, offset
from cc_images.errors import Interrupted
from tests.conftest import REPOSITORY

STOP = threading.Event()


def nothing() -> None:
    """Say nothing of a wait."""


def test_who_compiles_is_alone_and_then_shares(tmp_path: Path) -> None:
    there: set[str] = set()
    waits: list[str] = []
    with PackageLocks(tmp_path / "a" / "locks") as first, PackageLocks(tmp_path / "a" / "locks") as second:
        assert first.take("zip", lambda: "zip" in there, STOP, nothing) is False
        assert not second.alone("zip")
        assert second.alone("lz4"), "another package is free"
        taken: list[bool] = []

        def wait() -> None:
            taken.append(second.take("zip", lambda: "zip" in there, STOP, lambda: waits.append("zip")))

        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.3)
        assert waits == ["zip"]
        assert taken == []
        there.add("zip")
        first.share("zip")
        waiter.join(10)
        assert taken == [True]
        with PackageLocks(tmp_path / "a" / "locks") as third:
            assert not third.alone("zip"), "it is used"
    with PackageLocks(tmp_path / "a" / "locks") as third:
        assert third.alone("zip")


def test_a_wait_ends_when_it_shall_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with PackageLocks(tmp_path / "locks") as first, PackageLocks(tmp_path / "locks") as second:
        assert first.alone("zip")
        with pytest.raises(Interrupted):
            second.take("zip", lambda: False, stop, nothing)


def test_a_dead_process_has_no_locks(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from cc_images.builders.spack.package_locks import PackageLocks\n"
        "locks = PackageLocks(Path(sys.argv[1])); assert locks.alone('zip'); print('has it', flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "locks"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    with PackageLocks(tmp_path / "locks") as locks:
        assert not locks.alone("zip")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert locks.alone("zip")


def test_offsets_differ() -> None:
    assert len({offset(f"{number:032}") for number in range(10_000)}) == 10_000
    assert all(0 <= offset(each) < 1 << 56 for each in ("a", "b"))
