"""What the head says of a builder host that ssh reaches, and that refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cc_images.errors import CCImagesError
from cc_images.model.attempt import BuilderHost
from cc_images.remote.launchers.ssh import SshLauncher


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
