"""`script/setup`, as the Makefile calls it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
CALLS = re.findall(r"^\tscript/setup (--[a-z]+ \$\(VENV\))", (REPOSITORY / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("call", CALLS)
def test_calls_of_the_makefile_are_known(call: str, tmp_path: Path) -> None:
    words = call.replace("$(VENV)", str(tmp_path / "none")).split()
    process = subprocess.run([REPOSITORY / "script/setup", *words], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith(f"script/setup: {words[0]} wants an environment\nusage: ")


def test_the_makefile_has_such_calls() -> None:
    assert len(CALLS) >= 2


TESTS = """\
import atexit, signal, sys
noted = open({noted!r}, "a", 1)
atexit.register(noted.write, "ended\\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
noted.write("begun\\n")
signal.pause()
"""
"""What stands for a half of the real tests: SIGINT ends it, unless a shell has let it ignore that, as in pytest."""


@pytest.mark.parametrize(("send", "number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)])
def test_both_halves_of_the_real_tests_end_with_make(
    send: Callable[[int, int], None], number: signal.Signals, tmp_path: Path
) -> None:
    tests, noted = tmp_path / "pytest", tmp_path / "noted"
    tests.write_text(f"#!{sys.executable}\n" + TESTS.format(noted=str(noted)))
    tests.chmod(0o755)
    noted.touch()
    made = [f"--assume-old={each}" for each in ("check", tmp_path / ".tests")]
    words = ["env", "--default-signal=INT,TERM", "make", "test", *made, f"VENV={tmp_path}", f"BIN={tmp_path}"]
    with subprocess.Popen(words, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(noted, "begun", process)
            send(process.pid, number)
            wait_for(noted, "ended", process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(noted: Path, word: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until both halves have noted a word."""
    deadline = time.monotonic() + 60
    while noted.read_text().count(word) < 2:
        assert time.monotonic() < deadline, (word, noted.read_text(), process.poll())
        time.sleep(0.05)


@pytest.mark.parametrize(("words", "said"), [(["--nothing"], "--nothing is unknown"), ([], "an argument is missing")])
def test_a_wrong_word_is_named(words: list[str], said: str) -> None:
    process = subprocess.run([REPOSITORY / "script/setup", *words], capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    assert process.stderr.startswith(f"script/setup: {said}\nusage: ")
