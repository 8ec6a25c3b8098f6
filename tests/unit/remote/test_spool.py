"""The stream of an attempt on its way: each line once and in order, whatever the link and the disk do."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.remote.spool import TRY_AGAIN, Spool
from tests.conftest import REPOSITORY

LINES = 1000


class Heard:
    """A head that hears a stream; every third call fails, before or after its bytes have come."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.calls = 0

    def send(self, at: int, data: bytes) -> int:
        self.calls += 1
        assert at <= len(self.content)
        if at == len(self.content) and self.calls % 3:
            self.content += data
        if self.calls == 3:
            raise CCImagesError("the link is broken", temporary=True)
        return len(self.content)

    @property
    def numbers(self) -> list[int]:
        return [json.loads(line)["number"] for line in self.content.splitlines()]


def said(path: Path) -> list[int]:
    heard = Heard()
    with Spool(path, heard.send) as spool:
        for number in range(LINES):
            spool.say({"number": number})
    return heard.numbers


def test_each_line_comes_once_and_in_order(tmp_path: Path) -> None:
    assert said(tmp_path / "stream") == [*range(LINES)]
    assert len((tmp_path / "stream").read_bytes().splitlines()) == LINES


@pytest.mark.parametrize("path", ["/dev/full", "/proc/nothing/stream"])
def test_a_disk_without_room_loses_no_line(path: str) -> None:
    assert said(Path(path)) == [*range(LINES)]


@pytest.mark.long
def test_nobody_waits_for_a_head_whose_lease_has_run_out(tmp_path: Path) -> None:
    asked = []

    def send(at: int, data: bytes) -> int:
        asked.append(at)
        raise CCImagesError("the head is gone", temporary=True)

    began = time.monotonic()
    with Spool(tmp_path / "stream", send, lambda: time.monotonic() < began + 1) as spool:
        spool.say({"over": 0})
    assert 1 <= time.monotonic() - began < 10
    tries = len(asked)
    time.sleep(2.5 * TRY_AGAIN)
    assert len(asked) <= tries + 1, "nothing goes on in the background either"


LIMITED = """\
import signal, sys
from pathlib import Path
from tests.unit.remote.test_spool import LINES, said
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(said(Path(sys.argv[1])) != [*range(LINES)])
"""


def test_a_disk_that_fills_up_amid_a_line_loses_none_of_it(tmp_path: Path) -> None:
    def few_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    command = [sys.executable, "-c", LIMITED, str(tmp_path / "stream")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, preexec_fn=few_bytes, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "stream").stat().st_size == 1000
