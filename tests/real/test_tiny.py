"""The whole tool on a system that builds in seconds: unmodified dib, real mounts, real loop devices."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import spread
from tests.real.conftest import Project, Watched


def test_build_push_and_nothing_to_do(project: Project) -> None:
    code, output = project.run("-b", "-p", "-t", "2", "cc-tiny", "cc-tiny-too")
    assert code == 0, output
    for name in ("CC-Tiny", "CC-Tiny-Too"):
        assert project.published(name)
        assert (project.store / "images" / f"{name}.qcow2").is_file()
    project.assert_no_leftovers()
    said = subprocess.run(
        ["qemu-img", "info", "--output", "json", project.site / "CC-Tiny.qcow2"], check=True, capture_output=True
    ).stdout
    assert json.loads(said)["format-specific"]["data"]["compression-type"] == "zstd"

    before = project.published()
    code, output = project.run("-b", "-p", "cc-tiny", "cc-tiny-too")
    assert code == 0
    assert "4 cached in" in output
    assert project.published() == before
    project.assert_no_leftovers()

    code, output = project.run("plan", "cc-tiny", DIB_TINY_NEW="1")
    assert f"changed since {before}: environment/DIB_TINY_NEW is new" in output

    code, output = project.run("-b", "-p", "-f", "cc-tiny")
    assert code == 0, output
    assert project.published() > before
    kept = [path.name for path in (project.store / "builds/cc-tiny/amd64").glob("2*.json")]
    assert kept == [f"{project.published()}.json"], "force drops the older builds of the named image"
    assert list((project.store / "builds/cc-tiny-too/amd64").glob("2*.json")), "and nobody else's"
    archived = [path.name for path in project.site.glob("CC-Tiny-2*.qcow2")]
    assert archived == [f"CC-Tiny-{time.strftime('%Y%m%d', time.gmtime())}.qcow2"]

    journal = max((project.store / "runs").glob("*.json"), key=lambda path: path.stem)
    assert {result["status"] for result in json.loads(journal.read_text())["results"]} == {"done"}


MOMENTS = [
    (r"^\[\S+ .* root\.d", 0.1),
    (r"^\[\S+ .* extra-data\.d", 0.1),
    (r"^\[\S+ .* pre-install\.d", 0.2),
    (r"^\[\S+ .* install\.d", 0.2),
    (r"^\[\S+ .* post-install\.d", 0.2),
    (r"^\[\S+ .* post-root\.d", 1.2),
    (r"^\[\S+ .* pre-finalise\.d", 0.2),
    (r"^\[\S+ .* finalise\.d", 0.3),
    (r"^\[\S+ .* cleanup\.d", 0.2),
    (r"^\[convert .* to qcow2", 0.0),
    (r"^\[push .* started", 0.0),
]


def test_a_kill_at_any_moment_leaves_nothing(project: Project) -> None:
    project.environment["DIB_TINY_LINGER"] = "1"
    code, output = project.run("-b", "-p", "cc-tiny")
    assert code == 0, output
    for pattern, delay in spread(MOMENTS):
        before = project.published()
        run = Watched(project.start("-b", "-p", "-f", "cc-tiny"))
        run.wait_for(pattern)
        time.sleep(delay)
        run.end(signal.SIGKILL)
        project.assert_nothing_leaked()
        code, output = project.run("-p", "cc-tiny")
        assert code == 0, output
        project.assert_no_leftovers()
        assert project.published() >= before, pattern
    code, output = project.run("-b", "-p", "cc-tiny")
    assert code == 0, output


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.deep)])
def test_the_first_signal_ends_cleanly(project: Project, number: signal.Signals) -> None:
    run = Watched(project.start("-b", "-p", "cc-tiny", "cc-tiny-too", DIB_TINY_LINGER="3"))
    run.wait_for(r"^\[build .* install\.d")
    assert run.end(number) == 130
    assert sum(line.startswith("[build ") and line.endswith(" started") for line in run.lines) == 1
    assert any("stopped" in line for line in run.lines)
    assert list((project.store / "work").iterdir()) == []
    project.assert_nothing_leaked()


def test_the_second_signal_ends_at_once(project: Project) -> None:
    run = Watched(project.start("-b", "-p", "cc-tiny", DIB_TINY_LINGER="3"))
    run.wait_for(r"^\[build .* install\.d")
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 130
    project.assert_nothing_leaked()


def test_a_failure_says_what_why_and_where_and_blocks_only_descendants(project: Project) -> None:
    (project.folder / "elements").unlink()
    shutil.copytree(Path(__file__).parent.parent / "elements", project.folder / "elements")
    broken = project.folder / "elements" / "broken" / "install.d" / "55-broken"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/bash\necho 'E: the package is not there'\nexit 7\n")
    broken.chmod(0o755)
    text = (project.folder / "images.yaml").read_text()
    text = text.replace("CC-Tiny:\n  elements: [tiny-os]", "CC-Tiny:\n  elements: [tiny-os, broken]")
    text = text.replace("  layer: false\n", "")  # a child in one go needs nothing of its parent
    (project.folder / "images.yaml").write_text(text)
    code, output = project.run("-b", "-p", "-t", "2", "all")
    assert code == 3, output
    assert "layer cc-tiny amd64 failed: dib failed in install.d/55-broken: E: the package is not there" in output
    log = next(line.split(": ")[1] for line in output.splitlines() if "whole log" in line)
    assert "the package is not there" in Path(log).read_text()
    assert "what to do: read the log around install.d/55-broken" in output
    table = output[output.index("task  ") :]
    for blocked in ("convert cc-tiny amd64", "push cc-tiny amd64 to local", "build cc-tiny-child amd64"):
        assert any(line.startswith(blocked + " ") and "blocked" in line for line in table.splitlines()), table
    assert any(line.startswith("push cc-tiny-too amd64 to local") and "done" in line for line in table.splitlines())
    project.assert_no_leftovers()


def test_a_full_disk_has_a_message(project: Project) -> None:
    code, output = project.run("-b", "-p", "cc-tiny", DIB_TINY_FAULT="full")
    assert code == 3, output
    assert "free space in the store" in output
    assert "No space left on device" in output
    project.assert_nothing_leaked()
    assert not (project.store / "builds").exists()


def small_file_system(folder: Path, size: str) -> None:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)


def test_a_full_store_has_a_message(project: Project) -> None:
    small_file_system(project.store, "64m")
    try:
        code, output = project.run("-b", "cc-tiny")
        assert code == 3, output
        assert "is full" in output
        assert "set CC_IMAGES_STORE to a folder on a larger file system" in output
        assert list((project.store / "work").iterdir()) == []
    finally:
        subprocess.run(["umount", project.store], check=True)


def test_a_site_without_room_fails_and_is_left_clean(project: Project) -> None:
    small_file_system(project.site, "1m")
    try:
        code, output = project.run("-b", "-p", "cc-tiny")
        assert code == 3, output
        assert "site local: " in output
        assert "No space left on device" in output
        assert list(project.site.iterdir()) == []
    finally:
        subprocess.run(["umount", project.site], check=True)
    code, output = project.run("-b", "-p", "cc-tiny")
    assert code == 0, output
    assert re.search(r"^build cc-tiny amd64 +cached$", output, re.MULTILINE), "what was built is not lost"


def test_a_timeout_ends_the_build(project: Project) -> None:
    text = (project.folder / "images.yaml").read_text()
    (project.folder / "images.yaml").write_text(text.replace("CC-Tiny:\n", "CC-Tiny:\n  timeout: 1\n", 1))
    program = (  # nobody waits for a real minute
        "from cc_images.builders.dib import command; from cc_images.cli import main;"
        "command.MINUTE = 30.0; main(['-b', 'cc-tiny'])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project.folder,
        env=project.environment | {"DIB_TINY_FAULT": "hang"},
        capture_output=True,
        text=True,
    )
    code, output = said.returncode, said.stdout + said.stderr
    assert code == 3, output
    assert "dib timed out after 1 minutes in install.d/50-misbehave" in output
    assert "raise the image's timeout in images.yaml" in output
    project.assert_nothing_leaked()


def test_a_missing_tool_has_a_message(project: Project) -> None:
    hidden = shutil.which("qemu-img")
    command = f"mount --bind /dev/null {hidden} && exec {sys.executable} -m cc_images -b cc-tiny"
    said = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 3
    assert "missing on this host: qemu-img (package qemu-utils)" in said.stderr
    assert not (project.store / "work").exists() or not os.listdir(project.store / "work")


def test_without_root_and_sudo_there_is_a_message(project: Project) -> None:
    store = project.folder / "theirs"
    store.mkdir()
    os.chown(store, 65534, 65534)
    # nobody, who may read what only root may, so that the test does not depend on where the checkout lies
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    capabilities = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    said = subprocess.run(
        [*nobody, *capabilities, sys.executable, "-m", "cc_images", "-b", "cc-tiny"],
        cwd=project.folder,
        env=project.environment | {"CC_IMAGES_STORE": str(store)},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 2, said.stderr
    assert "cc-tiny (dib makes its disk) needs the host's own root, and `sudo -n` was refused" in said.stderr
    assert "what to do: run as root" in said.stderr
    assert not (store / "work").exists() or not os.listdir(store / "work")


def test_on_a_terminal_every_task_has_a_bar(project: Project) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 30, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "cc_images", "-b", "-p", "--no-boot-test", "cc-tiny"],
        cwd=project.folder,
        env=project.environment | {"DIB_TINY_LINGER": "0.5", "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    seen = b""
    with suppress(OSError):  # the other end is closed
        while chunk := os.read(master, 4096):
            seen += chunk
    os.close(master)
    text = re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert process.wait() == 0, text
    bar = r"\rbuild cc-tiny amd64  (?:\S+  )?\d:\d\d, no earlier run  install\.d/60-linger-install"
    assert re.search(bar, text), text[-3000:]
    assert "done     build cc-tiny amd64" in text
    assert re.search(r"push cc-tiny amd64 to local +done", text), "the final table"
