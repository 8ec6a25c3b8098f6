"""People at builder hosts behind a real sshd: one container from one recipe, live, and who does what meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, clean_environment, write_files
from tests.real.conftest import CATALOGUE, Project, Watched
from tests.support.slurmbed import await_for
from tests.support.sshbed import SSHD, SshBed

TOOLS = ("buildah", "tar2sqfs", "unsquashfs")
MISSING = [*(["sshd"] if not SSHD else []), *(each for each in TOOLS if shutil.which(each) is None)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

BUSYBOX = shutil.which("busybox") or ""

ROOT = """\
CC-Root: {elements: [tiny-os], formats: [oci], artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}}
"""

RECIPE = """\
# a recipe with the line ends of another system\r
ARG NAME=tool\r
FROM scratch AS tool\r
COPY busybox /bin/busybox\r
FROM ${NAME}\r
COPY words.txt /opt/words.txt\r
RUN ["/bin/busybox", "sh", "-c", "for i in $(/bin/busybox seq 20); do echo tick $i; /bin/busybox sleep 0.2; done"]\r
CMD ["/bin/busybox", "cat", "/opt/words.txt"]\r
"""

FAILS = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo no such luck; exit 7"]
"""

BUSY = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo begun NAME; while ! [ -e /proc/1/nothing ]; do /bin/busybox sleep 0.2; done"]
"""

LINES = 10_000

CHATTY = r"""
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
RUN ["/bin/busybox", "awk", "BEGIN { for (i = 1; i <= LINES; i++) { getline t < \"/proc/uptime\"; close(\"/proc/uptime\"); split(t, a, \" \"); print \"line\", i, a[1]; if (i % 50 == 0) { fflush(); system(\"/bin/busybox sleep 0.2\") } } }"]
"""  # noqa: E501
"""Prints so many lines in a minute, each with the seconds since the host has started."""

DEFINITION = """\
Bootstrap: localimage
From: cc-root
%files
    words.txt /opt/
%post
    test "$APPTAINER_ENVIRONMENT"
    echo 'export LATER="set by post"' >> $APPTAINER_ENVIRONMENT
    cat /opt/words.txt
%environment
    export WORDS="a 'b'"
%runscript
    echo "$WORDS, $1"
%test
    test -x /.singularity.d/of-definition && echo tested
"""


@pytest.fixture
def based(project: Project) -> Project:
    """Return a project with a base image for containers."""
    catalogue = project.folder / "images.yaml"
    root = catalogue.read_text().partition('{url: "')[2].partition('"')[0]
    catalogue.write_text((CATALOGUE + ROOT).replace("TINY_ROOT_URL", root))
    return project


@pytest.fixture
def away(tmp_path: Path, ssh: SshBed) -> Project:
    """Return a project with one builder host, and a context with a program that needs nothing else."""
    write_files(tmp_path, images="CC-X: {elements: [a]}\n", sites="")
    (tmp_path / "context").mkdir()
    shutil.copy(BUSYBOX, tmp_path / "context" / "busybox")
    (tmp_path / "builders.yaml").write_text(ssh.builder("east"))
    return Project(tmp_path, clean_environment(tmp_path) | ssh.environment | {"PYTHONPATH": str(REPOSITORY)})


needs_busybox = pytest.mark.skipif(not BUSYBOX, reason="needs busybox")


@needs_busybox
def test_a_recipe_becomes_a_file_on_a_builder_host_and_ctrl_c_ends_it(away: Project) -> None:
    context = away.folder / "context"
    with (away.folder / "builders.yaml").open("a") as hosts:
        hosts.write("gone: {ssh: root@127.0.0.9, architectures: [arm64]}\n")
    (context / "words.txt").write_text("words\n")
    (context / "not-this.txt").write_text("a secret of somebody\n")
    (context / ".containerignore").write_text("not-this*\n")
    recipe, target = away.folder / "container.recipe", away.folder / "container.sif"
    recipe.write_bytes(RECIPE.encode())
    target.write_text("the old one")
    words = ("remote", "build", str(target), str(recipe), "--context", str(context), "--on", "east")

    watched = Watched(away.start(*words))
    watched.wait_for("^tick 3$", 600)
    assert not any(line == "tick 20" for line in watched.lines), "a line is shown when it was printed"
    code, said = away.run("builders", "--json")
    assert code == 3, "one host does not answer"
    found = json.loads(said)
    east, gone = (each for each in found["builders"] if each["name"] != "here")
    (work,) = east["at_work"]
    assert (east["state"], gone["state"]) == ("active", "silent")
    assert work["image"].startswith("container-r"), work
    assert (work["owner"], work["state"], work["there"]) == ("root", "working", True)
    assert target.read_text() == "the old one"
    code = watched.wait(600)
    output = "\n".join(watched.lines)
    assert code == 0, output
    assert [line for line in watched.lines if line.startswith("tick ")] == [f"tick {n}" for n in range(1, 21)]
    assert "on east" in output, output
    content = target.read_bytes()
    assert content[32:41] == b"SIF_MAGIC"
    assert hashlib.sha256(content).hexdigest() in output
    assert not list(away.folder.glob(".container*"))

    recipe.write_text(BUSY)
    watched = Watched(away.start(*words))
    watched.wait_for("^begun NAME$", 600)
    began = time.monotonic()
    watched.process.send_signal(signal.SIGINT)
    assert watched.wait(120) == 130, watched.lines
    assert time.monotonic() - began < 60, "its host was asked to end, and did"
    assert target.read_bytes() == content

    recipe.write_text(FAILS)
    code, output = away.run(*words)
    assert (code, target.read_bytes() == content) == (3, True), output
    assert "no such luck" in output
    away.assert_no_leftovers()


WHOLE = """\
FROM scratch
COPY busybox /bin/busybox
COPY . /context
RUN ["/bin/busybox", "sh", "-euxc", "cd /context; [ $(/bin/busybox readlink link) = words.txt ]; [ ! -e secret ]; /bin/busybox stat -c 'big has %s' big; /bin/busybox find . -type l; /bin/busybox rm big"]
"""  # noqa: E501


@needs_busybox
@pytest.mark.deep
def test_a_context_of_a_gibibyte_travels_with_its_links_and_nothing_else(away: Project, ssh: SshBed) -> None:
    context = away.folder / "context"
    (context / "words.txt").write_text("words\n")
    (context / "link").symlink_to("words.txt")
    (context / "secret").write_text("not for others: 5b1d")
    (context / ".containerignore").write_text("secret\n")
    with (context / "big").open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(1 << 30)
    (away.folder / "x.recipe").write_text(WHOLE)
    run, most = Watched(away.start("remote", "build", "x.sif", "x.recipe", "--context", "context")), 0
    while run.process.poll() is None:
        with suppress(OSError):
            said = Path(f"/proc/{run.process.pid}/status").read_text()
            most = max([most, *(int(each) for each in re.findall(r"^VmHWM:\s+(\d+) kB", said, re.MULTILINE))])
        time.sleep(0.2)
    assert run.wait() == 0, run.lines[-30:]
    print(f"the head had {most >> 10} MiB")
    assert {"big has 1073741824", "./link"} <= set(run.lines)
    assert most < 200 << 10, "no file is held in memory"
    found = subprocess.run(["grep", "-rlaF", "not for others: 5b1d", ssh.folder], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, ""), "what is ignored stays here"


class Timed(threading.Thread):
    """Reads what a process prints; each line is kept with the moment at which it came."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.lines: list[tuple[float, str]] = []
        self.start()

    def run(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.clock_gettime(time.CLOCK_BOOTTIME), line.rstrip()))

    def printed(self) -> list[tuple[int, float, float]]:
        """Return number, delay and moment of each line of the build, in the order in which they came."""
        found = [(moment, line.split()) for moment, line in self.lines if line.startswith("line ")]
        return [(int(number), moment - float(said), float(said)) for moment, (_, number, said) in found]


@needs_busybox
def test_each_line_is_here_within_a_second_and_in_order_also_after_a_cut(away: Project, ssh: SshBed) -> None:
    (away.folder / "x.recipe").write_text(CHATTY.replace("LINES", str(LINES)))
    words = ("remote", "build", "x.sif", "x.recipe", "--context", "context")
    timed = Timed(away.start(*words))
    await_for(lambda: len(timed.printed()) > LINES / 4, 300, "there are no lines")
    cut = time.clock_gettime(time.CLOCK_BOOTTIME)
    ssh.interrupt(3)
    assert timed.process.wait(300) == 0, timed.lines[-20:]
    timed.join(10)
    found = timed.printed()
    assert [number for number, _, _ in found] == [*range(1, LINES + 1)], "each once, in order"
    late = [number for number, delay, _ in found if delay > 1]
    delays = sorted(delay for _, delay, said in found if not cut - 1 <= said <= cut + BROKEN)
    print(f"{len(late)} lines came after a second; besides the cut: p99 {delays[len(delays) * 99 // 100]:.2f} s")
    assert len(delays) > LINES / 2
    assert delays[len(delays) * 99 // 100] <= 1


BROKEN = 15.0
"""Seconds since a cut after which the tunnel has been made again."""


def test_a_definition_is_built_here_and_runs_as_it_says(based: Project) -> None:
    recipe, target = based.folder / "x.def", based.folder / "x.sif"
    recipe.write_text(DEFINITION)
    context = based.folder / "context"
    context.mkdir()
    (context / "words.txt").write_text("some words\n")
    code, output = based.run("remote", "build", str(target), str(recipe), "--context", str(context))
    assert code == 0, output
    assert "\nsome words\n" in output
    assert "\n+ echo tested\ntested\n" in output, "what a command prints follows the command"
    content = target.read_bytes()
    tree = based.folder / "tree"
    offset = str(content.index(b"hsqs"))
    command = ["unsquashfs", "-quiet", "-offset", offset, "-dest", str(tree), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    inside = tree / ".singularity.d"
    assert "export WORDS=" in (inside / "env" / "90-of-definition.sh").read_text()
    assert (inside / "env" / "91-environment.sh").read_text() == 'export LATER="set by post"\n'
    assert (inside / "of-definition").read_text() == '#!/bin/sh\n    echo "$WORDS, $1"\n'
    assert 'exec /.singularity.d/of-definition "$@"' in (inside / "runscript").read_text()
    based.assert_no_leftovers()


def test_an_ordinary_user_without_container_tools_gets_a_container(tmp_path: Path) -> None:
    folder, own = tmp_path / "project", tmp_path / "own"
    folder.mkdir()
    write_files(folder, images="CC-X: {elements: [a]}\n", sites="")
    (folder / "x.recipe").write_text("FROM scratch\nCOPY <<'END' /words.txt\nwords\nEND\nCMD [\"/words\"]\n")
    with SshBed(tmp_path / "ssh") as ssh:
        (folder / "builders.yaml").write_text(ssh.builder("east"))
        shutil.copytree(ssh.folder, own, ignore=shutil.ignore_patterns("east", "pid"))
        for name in ("ssh_config", "bin/ssh"):
            (own / name).write_text((own / name).read_text().replace(str(ssh.folder), str(own)))
        for name in ("env", "sh"):
            (own / "bin" / name).symlink_to(str(shutil.which(name)))
        program = own / "bin" / "cc-images"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cc_images "$@"\n')
        program.chmod(0o755)
        environment = clean_environment(folder) | {"PYTHONPATH": str(REPOSITORY), "PATH": str(own / "bin")}
        environment["CC_BUILDERS_CONFIG"] = str(folder / "builders.yaml")
        ordinary = REPOSITORY / "tests" / "support" / "ordinary.py"
        alias = REPOSITORY / "contrib" / "container-builder" / "container-builder"
        done = subprocess.run(
            [sys.executable, ordinary, folder, own, "--", alias, "x.img", "x.recipe"],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "x.img").read_bytes()[32:41] == b"SIF_MAGIC"
    assert (folder / "x.img").stat().st_uid != 0
    assert "on east" in done.stdout
    (owner,) = {json.loads(path.read_text())["owner"] for path in folder.glob("store/attempts/*/claim.json")}
    assert owner == "ordinary"


@needs_busybox
def test_three_clients_of_one_place_wait_in_one_line(away: Project) -> None:
    def started(name: str) -> Watched:
        (away.folder / f"{name}.recipe").write_text(BUSY.replace("NAME", name))
        return Watched(away.start("remote", "build", f"{name}.sif", f"{name}.recipe", "--context", "context"))

    def queue(count: int, seconds: float) -> list[str]:
        """Return who waits, by positions, once it is so many; else after these seconds."""
        deadline = time.monotonic() + seconds
        while True:
            found = json.loads(away.run("builders", "--json")[1])["queue"]
            if len(found) == count or time.monotonic() > deadline:
                assert [each["position"] for each in found] == [*range(1, len(found) + 1)]
                return [each["chain"].split()[1].partition("-")[0] for each in found]

    first = started("one")
    first.wait_for("^begun one$", 300)
    second = started("two")
    assert queue(1, 120) == ["two"]
    third = started("three")
    assert queue(2, 120) == ["two", "three"]
    second.process.kill()
    assert queue(1, 5) == ["three"], "a client that is killed leaves the line"
    assert not any(line.startswith("begun") for line in third.lines), "there is one place"
    first.process.send_signal(signal.SIGINT)
    assert first.wait(120) == 130, first.lines
    third.wait_for("^begun three$", 300)
    assert queue(0, 60) == []
    third.process.send_signal(signal.SIGINT)
    assert third.wait(120) == 130, third.lines
    away.assert_nothing_leaked()
