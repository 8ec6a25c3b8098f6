"""The launcher by ssh, behind an ssh that says odd things: nothing of them is believed, or steers a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.attempt import BuilderHost, JobState
from cc_images.remote.launchers.ssh import SshLauncher

ATTEMPT = f"a{0:032x}"


@pytest.fixture
def saying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], SshLauncher]:
    """Return a function that gives a launcher whose ssh prints something, and says something when it fails."""

    def made(output: str, error: str = "") -> SshLauncher:
        (tmp_path / "output").write_text(output)
        (tmp_path / "error").write_text(error)
        program = tmp_path / "ssh"
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/output\ncat {tmp_path}/error >&2\n[ ! -s {tmp_path}/error ]\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return SshLauncher(BuilderHost(name="near", ssh="near"), "")

    return made


@pytest.mark.parametrize("said", ["[]", "", "7", "[" * 100_000, f'{{"{ATTEMPT}": []}}', f'{{"{ATTEMPT}": "fine"}}'])
def test_a_host_that_says_nothing_of_its_jobs_is_not_believed(
    saying: Callable[[str, str], SshLauncher], said: str
) -> None:
    assert saying(said, "").look([ATTEMPT]) == {ATTEMPT: JobState.UNKNOWN}


def test_a_host_that_knows_its_jobs_is(saying: Callable[[str, str], SshLauncher]) -> None:
    assert saying(f'{{"{ATTEMPT}": "running"}}', "").look([ATTEMPT]) == {ATTEMPT: JobState.RUNNING}


def test_words_of_a_host_do_not_steer_a_terminal(saying: Callable[[str, str], SshLauncher]) -> None:
    with pytest.raises(CCImagesError) as caught:
        saying("", "\033]0;owned\007no route\n").facts()
    assert "no route" in caught.value.message
    assert caught.value.message.isprintable()
    with pytest.raises(CCImagesError) as caught:
        saying("\033[2J[]", "").facts()
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("bash: line 1: cc-images: command not found", "bash: line 1: cc-images: command not found"),
        ("cc-images: the store cannot be made\ncc-images: what to do: name another", "the store cannot be made"),
        ("", "exit code 2"),
    ],
)
def test_the_reason_of_a_refusal_is_its_last_line_without_advice(
    said: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{said}' >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(CCImagesError) as caught:
        SshLauncher(BuilderHost(name="east", ssh="me@east"), "/nowhere/hub").facts()
    assert caught.value.message == f"builder host me@east: {why}"
