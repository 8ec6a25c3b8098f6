"""Completion: what may follow, from the parser and the catalogue; and in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Cli, clean_environment, write_files


@pytest.fixture(autouse=True)
def catalogue(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        images="CC-One: {}\nCC-Two: {arch: [amd64, arm64]}\n",
        sites="local: {directory: site}\nkvm: {cloud: kvm}",
    )
    (tmp_path / "builders.yaml").write_text("east: {ssh: east}\n")


def words(cli: Cli, *before: str) -> list[str]:
    answer = cli("complete", *before)
    assert answer.returncode == 0, answer.stderr
    return [line.partition("\t")[0] for line in answer.stdout.splitlines()]


@pytest.mark.parametrize(
    ("before", "offered"),
    [
        (["cc"], ["cc-one", "cc-two"]),
        (["-b", "-p", "cc-t"], ["cc-two"]),
        (["-b", "cc-one", ""], ["cc-two", "all"]),
        (["-b", "cc-t*", ""], ["cc-one", "all"]),
        (["pl"], ["plan"]),
        (["-b", "pl"], []),
        (["plan", "-s", ""], ["local", "kvm"]),
        (["-b", "--on", ""], ["here", "east"]),
        (["-b", "-a", "a"], ["amd64", "arm64", "amd64,arm64"]),
        (["-b", "--if-busy", ""], ["share", "wait", "leave"]),
        (["-b", "--no-"], ["--no-boot-test"]),
        (["doctor", "--"], ["--help", "--json", "--log-level", "--mend", "--dry-run"]),
        (["boot", "cc-o"], ["cc-one"]),
        (["boot", "cc-one", ""], []),
        (["boot", "--firmware", "u"], ["uefi"]),
        (["remote", ""], ["build"]),
        (["remote", "build", ""], []),
        (["remote", "build", "x.sif", "r", "--on", "e"], ["east"]),
        (["store", ""], ["serve"]),
        (["completion", ""], ["bash", "zsh", "fish", "man", "install"]),
        (["--metrics", ""], []),
        (["diff", "cc-one", ""], []),
        (["-b", "CC-T"], ["cc-two"]),
        (["-b", "-a", "amd64,"], ["amd64,arm64"]),
        (["-b", "--if-busy=w"], ["--if-busy=wait"]),
        (["boot", "--firmware", "uefi", ""], ["cc-one", "cc-two"]),
        (["log", ""], []),
        (["download", ""], []),
        (["cancel", "--to"], ["--token-file"]),
        (["--server", ""], []),
        (["--server", "https://images.example.org", "ca"], ["catalogue-page", "cancel"]),
        (["--server", "https://images.example.org", "-b", "--on-interrupt", ""], ["cancel", "detach"]),
        (["--server=https://images.example.org", "-b", "cc-t"], ["cc-two"]),
    ],
)
def test_what_may_follow(cli: Cli, before: list[str], offered: list[str]) -> None:
    assert words(cli, *before) == offered


def test_everything_may_begin_a_line(cli: Cli) -> None:
    offered = words(cli, "")
    assert {"list", "status", "diff", "report", "cc-one", "all"} <= set(offered)
    assert "complete" not in offered


def test_a_broken_catalogue_offers_nothing_and_complains_of_nothing(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path, images="{")
    answer = cli("complete", "-b", "cc")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


ASK = {
    "bash": """
        source <(cc-images completion bash)
        COMP_WORDS=(cc-images -b cc-t); COMP_CWORD=2
        compopt() { :; }
        _cc_images
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "zsh": """
        autoload -Uz compinit; compinit -u -d "$HOME/dump"
        source <(cc-images completion zsh)
        _describe() { shift; local each; for each in ${(P)1}; do print -r -- "${each%%:*}"; done }
        words=(cc-images -b cc-t); CURRENT=3
        _cc_images
    """,
    "fish": """
        cc-images completion fish | source
        complete -C 'cc-images -b cc-t' | string replace -r '\\t.*' ''
    """,
}


@pytest.mark.parametrize("shell", ["bash", *(pytest.param(each, marks=pytest.mark.long) for each in ("zsh", "fish"))])
def test_shells_read_their_script_and_complete_a_tag(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    command = tmp_path / "bin" / "cc-images"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cc_images "$@"\n')
    command.chmod(0o755)
    environment = clean_environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    environment["PATH"] = f"{command.parent}:{environment['PATH']}"
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    said = subprocess.run(
        [shell, *options, "-c", ASK[shell]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert said.stdout.split() == ["cc-two"], said
