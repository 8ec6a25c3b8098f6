"""The scripts of examples/workstations that run when a container starts, and the plan of its family."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Cli

EXAMPLE = REPOSITORY / "examples" / "workstations"
CONTEXTS = EXAMPLE / "containers"
FOLDERS = ("datasets", "persistent-home", "persistent-shared-folder")

PROGRAMS = {
    "vncpasswd": 'tr a-zA-Z0-9 n-za-mN-ZA-M5-90-4 && [ "$*" = -f ]',
    "ssh-keygen": 'while [ "$1" != -f ]; do shift; done; echo key > "$2"; echo made a key >&2',
}
"""Stand-ins for the programs of packages that this host need not have."""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def started(home: Path, programs: Path, **variables: str) -> tuple[str, dict[str, str]]:
    """Run what a desktop does when it starts; return what it prints, and the files of its home."""
    home.mkdir(exist_ok=True)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(home), **variables}
    script = CONTEXTS / "desktop/start.d/50-desktop"
    done = subprocess.run([script], env=environment, check=True, text=True, stdout=subprocess.PIPE)
    files = {str(each.relative_to(home)): each for each in home.rglob("*") if each.is_file()}
    assert {each.stat().st_mode & 0o077 for each in files.values()} == {0}, "nobody else may read them"
    return done.stdout, {name: each.read_text() for name, each in files.items()}


def test_each_start_has_a_password_of_its_own_and_prints_none(tmp_path: Path, programs: Path) -> None:
    found = [started(tmp_path / f"home-{number}", programs) for number in range(2)]
    again = started(tmp_path / "home-0", programs)
    passwords = [files[".vnc/password"].strip() for _, files in (*found, again)]
    assert len({*passwords}) == 3
    assert min(map(len, passwords)) >= 8, "VNC uses eight letters"
    for printed, files in (*found, again):
        assert printed == ""
        assert files[".vnc/passwd"].strip() not in ("", files[".vnc/password"].strip())
    assert again[1][".ssh/host_key"] == "key\n"


def test_a_password_and_a_key_of_ssh_may_be_given(tmp_path: Path, programs: Path) -> None:
    printed, files = started(tmp_path / "home", programs, PASSWORD="my own one", SSH_KEY="ssh-ed25519 AAAA me")
    assert files[".vnc/password"] == "my own one\n"
    assert files[".ssh/authorized_keys"] == "ssh-ed25519 AAAA me\n"
    assert "my own one" not in printed


@pytest.mark.parametrize("words", [["a b", "", "*"], ["--", "a b", "", "*"]])
def test_words_reach_the_program_as_they_are(tmp_path: Path, words: list[str]) -> None:
    program = ["sh", "-c", 'for each; do echo "<$each>"; done', "program"]
    given = [words[0], *program, *words[1:]] if words[0] == "--" else [*program, *words]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    start = [str(CONTEXTS / "ws-python/start"), *given]
    done = subprocess.run(start, env=environment, cwd="/", check=True, text=True, stdout=subprocess.PIPE)
    assert done.stdout.splitlines() == ["<a b>", "<>", "<*>"]
    assert {each.name for each in tmp_path.iterdir()} == {*FOLDERS}, "where a volume hides those of the image"


def test_the_family_of_seven_is_planned_with_and_without_cuda(tmp_path: Path, cli: Cli) -> None:
    for each in ("images.yaml", "sites.yaml", "third-party.yaml"):
        shutil.copyfile(EXAMPLE / each, tmp_path / each)
    shutil.copytree(CONTEXTS, tmp_path / "containers")
    done = cli("plan", "--json", "-b", "-p", "--offline", "ws-*")
    assert done.returncode == 0, done.stderr
    tasks = {each["id"]: each for each in json.loads(done.stdout)["tasks"]}
    built = {name.split()[1] for name in tasks if name.startswith("build ")}
    plain = {name for name in built if not name.endswith("-cuda12")}
    assert len(plain) == 7
    assert built == plain | {f"{name}-cuda12" for name in plain}
    assert tasks["layer ws-python amd64"]["needs"] == ["layer cc-debian12-container amd64"]
    assert tasks["layer ws-python-cuda12 amd64"]["needs"] == ["layer cc-debian12-container-cuda amd64"]
    where = {each["job"]["tag"]: each["job"]["site"] for name, each in tasks.items() if name.startswith("push ")}
    assert {tag: site for tag, site in where.items() if site == "interactive"}.keys() == {
        name for name in built if "-desktop" in name or "-notebook" in name
    }
    assert where["ws-numpy-cuda12"] == where["ws-python"] == "batch"
