"""Builder hosts behind a real sshd that are unlike the head: another machine, other tools, no room, strangers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, clean_environment, lacking, write_files
from tests.real.conftest import Project
from tests.support.sshbed import SSHD, SshBed

BUSYBOX = shutil.which("busybox") or ""
REASON = lacking(("buildah", "busybox", "unshare")) or ("" if SSHD else "needs sshd")
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "-")

PRETENDS = """\
import os

real = os.uname()
os.uname = lambda: os.uname_result((*real[:4], "aarch64"))
"""
"""A module that Python loads at its start: the programs of a host take their machine for another one."""

RECIPE = "FROM scratch\nCOPY busybox /bin/\n"
"""No program of the image runs, so any machine can build it for any other."""


@pytest.fixture
def away(tmp_path: Path, ssh: SshBed) -> Project:
    """Return a project with a container, and no builders yet."""
    write_files(
        tmp_path,
        images="CC-Con: {builder: containerfile, arch: [amd64, arm64], context: context, formats: [oci]}\n",
        sites="",
    )
    (tmp_path / "context").mkdir()
    shutil.copy(BUSYBOX, tmp_path / "context" / "busybox")
    (tmp_path / "context" / "Containerfile").write_text(RECIPE)
    return Project(tmp_path, clean_environment(tmp_path) | ssh.environment | {"PYTHONPATH": str(REPOSITORY)})


def test_an_image_is_built_on_a_machine_of_its_architecture_and_on_no_other(away: Project, ssh: SshBed) -> None:
    (pretends := away.folder / "pretends").mkdir()
    (pretends / "sitecustomize.py").write_text(PRETENDS)
    emulating = ssh.builder("west").replace("{", "{architectures: [amd64, arm64], limits: 2, ")
    arm = ssh.builder("arm", PYTHONPATH=f"{pretends}:{REPOSITORY}")
    (away.folder / "builders.yaml").write_text(emulating + arm)
    code, output = away.run("-b", "cc-con")
    assert code == 0, output
    assert re.findall(r"(layer|build) .*; (on .*)", output) == [
        ("layer", "on west (native amd64)"), ("build", "on west (native amd64)"),
        ("layer", "on arm (native arm64)"), ("build", "on arm (native arm64)"),
    ], output  # fmt: skip
    made = {"amd64": ("west", "arm"), "arm64": ("arm", "west")}
    for arch, (maker, other) in made.items():
        (record,) = (json.loads(path.read_text()) for path in away.store.glob(f"builds/cc-con/{arch}/2*.json"))
        digest = record["outputs"]["oci"]["digest"]
        (blob,) = away.store.glob(f"blobs/sha256/*/{digest}")
        assert f'"architecture":"{arch}"'.encode() in blob.read_bytes().replace(b" ", b"")
        assert list(ssh.store(maker).glob(f"blobs/sha256/*/{digest}"))
        assert not list(ssh.store(other).glob(f"blobs/sha256/*/{digest}"))
    (away.folder / "builders.yaml").write_text(emulating)
    _, output = away.run("plan", "-b", "-f", "-a", "arm64", "cc-con")
    assert "on west (arm64 emulated)" in output, "there is no machine of its own any more"


def test_each_host_that_cannot_be_used_is_named_with_the_reason(away: Project, ssh: SshBed) -> None:
    """Nothing is built. The image could be built on each of them, and each is the only one of its plan."""
    other = away.folder / "mmdebstrap"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    stranger = " ".join((ssh.folder / "user.pub").read_text().split()[:2])
    with (ssh.folder / "known").open("a") as known:
        known.write(f"stranger {stranger}\n")
    configuration = (ssh.folder / "ssh_config").read_text()
    (ssh.folder / "ssh_config").write_text(
        f"Host stranger\n  HostName 127.0.0.1\n  HostKeyAlias stranger\n{configuration}"
    )
    tool = shutil.which("mmdebstrap")
    version = subprocess.run(["dpkg-query", "-W", "-f=${Version}", "mmdebstrap"], capture_output=True, text=True).stdout
    older = ssh.builder("older")
    facts = r"""sed 's/"version": "[^"]*"/"version": "0.0.1"/'"""
    program = ssh.folder / "older" / "cc-images"
    program.write_text(f"{program.read_text().rstrip()} | {facts}\n".replace("exec ", ""))
    hosts = {
        "tool": (
            ssh.builder("tool", first=f"mount --bind {other} {tool}"),
            rf"mmdebstrap is {re.escape(version)} \([0-9a-f]{{12}}\), and the head has {re.escape(version)} \(",
        ),
        "older": (older, r"has cc-images 0\.0\.1, and this host has \d"),
        "lacks": (
            "lacks: {ssh: root@127.0.0.1, command: /nowhere/cc-images}\n",
            "cc-images: No such file or directory",
        ),
        "stranger": ("stranger: {ssh: root@stranger}\n", "Host key verification failed"),
        "closed": ("closed: {ssh: root@127.0.0.9}\n", "Connection refused"),
        "nobody": ("nobody: {ssh: root@no-such-host.invalid}\n", "Could not resolve hostname"),
        "nowhere": (
            ssh.builder("nowhere").replace(str(ssh.store("nowhere")), "/proc/nothing/store"),
            "the store cannot be made: /proc/nothing/store: No such file or directory",
        ),
    }
    (away.folder / "builders.yaml").write_text("".join(entry for entry, _ in hosts.values()))
    code, output = away.run("builders", "--json")
    said = {each["name"]: each["why"] for each in json.loads(output)["builders"]}
    assert code == 3
    for name, (_, why) in hosts.items():
        assert re.search(why, said[name]), said[name]
    code, output = away.run("plan", "-b", "-a", "amd64", "cc-con")
    assert (code, "Traceback" in output) == (2, False)
    for name, (_, why) in hosts.items():
        assert re.search(rf"{name} .*{why}", output), output
    assert "docs/builders.md says what a builder needs" in output
    with (away.folder / "builders.yaml").open("a") as file:
        file.write(ssh.builder("good"))
    code, output = away.run("plan", "-b", "-a", "amd64", "cc-con")
    assert code == 0, output
    assert "on good (native amd64)" in output
    for name, (_, why) in hosts.items():
        assert re.search(rf"note: builder {name} gets nothing: .*{why}", output), output


def test_a_host_without_room_is_named_and_another_one_is_taken(away: Project, ssh: SshBed) -> None:
    full = ssh.builder("full")
    ssh.store("full").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", ssh.store("full")], check=True)
    try:
        (away.folder / "builders.yaml").write_text(full)
        began = time.monotonic()
        code, output = away.run("-b", "-a", "amd64", "cc-con")
        assert code == 3, output
        assert re.search(r"no builder can do layer cc-con amd64: full .*/full/store\S* is full", output)
        assert time.monotonic() - began < 60, "no lease is waited for"
        (away.folder / "builders.yaml").write_text(full + ssh.builder("west"))
        code, output = away.run("-b", "-a", "amd64", "cc-con")
        assert code == 0, output
        assert re.search(r"^\[layer cc-con amd64\] .*on full$", output, re.MULTILINE), "it was the first to be asked"
        assert re.search(r"^\[layer cc-con amd64\] .*on west$", output, re.MULTILINE)
    finally:
        subprocess.run(["umount", ssh.store("full")], check=True)
    away.assert_no_leftovers()
