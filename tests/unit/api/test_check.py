"""`cc-images check`: rules by what files alone say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cc_images.api import check
from cc_images.api.check import State
from cc_images.api.containerfile_words import subject
from cc_images.errors import UserError
from tests.conftest import Cli

README = "# X\n## Description\na\n## Usage\nb\n## License\nMIT\n"
CONTAINERFILE = """\
FROM debian:12 AS build
LABEL name=other
RUN <<EOF
FROM nowhere
USER root
EOF
FROM debian:12
# a remark
LABEL name="my image" \\
# another one
    version=2.1
USER user
ENTRYPOINT ["/entry", "--flag"]
"""
KEPT = ("user", "name", "version", "authorization", "readme", "words")


def test_the_last_stage_counts_and_heredocs_do_not() -> None:
    found = subject(CONTAINERFILE, {"usage": "b"})
    assert found.labels == {"name": "my image", "version": "2.1"}
    assert (found.user, found.entrypoint) == ("user", ("/entry", "--flag"))
    assert subject("from x\nentrypoint serve it", {}).entrypoint == ("/bin/sh", "-c", "serve it")
    assert subject("FROM x\nLABEL a b c", {}).labels == {"a": "b c"}


def test_a_folder_is_checked_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text(CONTAINERFILE)
    (tmp_path / "README.md").write_text(README)
    found = {each.rule: each for each in check.files(tmp_path, "workstation")}
    kept = {"Containerfile", "README.md", *(f"workstation.{each}" for each in KEPT)}
    assert {name for name, each in found.items() if each.state is State.KEPT} == kept
    assert found["workstation.uid"].state is State.UNKNOWN
    assert not check.broken(list(found.values()))


def test_what_is_missing_is_said(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "x").mkdir()
    done = cli("check", "x")
    assert done.returncode == 3
    assert "broken  Containerfile: there is neither Containerfile nor Dockerfile" in done.stdout
    (tmp_path / "x/Dockerfile").write_text("FROM scratch\n")
    done = cli("check", "--json", "x")
    assert {"rule": "README.md", "state": "broken", "text": "there is no README.md"} in json.loads(done.stdout)
    assert cli("check", "x", "--contract", "workstations").returncode == 2
    with pytest.raises(UserError, match="is no folder"):
        check.files(tmp_path / "nowhere", "workstation")


def test_only_containers_are_started(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "file").write_text("text")
    done = cli("check", ".", "--image", "file")
    assert done.returncode == 2
    assert "is neither an OCI archive nor a SIF file" in done.stderr
