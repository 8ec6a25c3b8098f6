"""`script/setup`, as the Makefile calls it."""

from __future__ import annotations

import re
import subprocess
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


@pytest.mark.parametrize(("words", "said"), [(["--nothing"], "--nothing is unknown"), ([], "an argument is missing")])
def test_a_wrong_word_is_named(words: list[str], said: str) -> None:
    process = subprocess.run([REPOSITORY / "script/setup", *words], capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    assert process.stderr.startswith(f"script/setup: {said}\nusage: ")
