"""`cc-images cluster` with words that it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Cli

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root makes clusters")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["down", "--dry-run"], "--dry-run is for up"),
        (["status", "--address", "192.0.2.1"], "--address is for up"),
        (["up", "--dry-run", "--address", "192.0.2.1\nProlog=x"], "is not an IP address"),
        (["up", "--dry-run", "--folder", "/tmp/x\nProlog=x"], "slurm.conf cannot name the folder"),
        (["up", "token"], "up takes no file"),
        (["join"], "join needs a token"),
        (["join", "missing"], "cannot be read"),
        (["join", "cc-join.canary"], "no word of a command line"),
        (["join", "wrong"], "this is no token"),
        (["down"], "this host is in no cluster"),
        (["token"], "this host is in no cluster"),
        (["status"], "this host is in no cluster"),
    ],
)
def test_one_message_and_nothing_is_made(words: list[str], why: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("cc-join.canary")
    given = [str(tmp_path / each) if each in ("missing", "wrong") else each for each in words]
    folder = [] if "--folder" in given else ["--folder", str(tmp_path / "cluster")]
    said = cli("cluster", *given, *folder)
    assert said.returncode == 2
    assert why in said.stderr
    assert "Traceback" not in said.stderr
    assert "canary" not in said.stderr
    assert not [*tmp_path.glob("cluster/*.json")]
