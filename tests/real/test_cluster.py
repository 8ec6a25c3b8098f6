"""A cluster from nothing: a head and a host that joins, each with a network, a name and a folder of its own.

Debian's munge and Slurm are installed here; systemd does not run, so services are processes. /etc is not changed: a
cluster in a folder of its own makes no link there. Both hosts have this host's processes and file systems.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, lacking
from tests.support.slurmbed import DIES, FREEZER, alive, await_for

REASON = lacking(("munged", "slurmctld", "slurmd", "sbatch", "openssl", "ip", "nsenter", "unshare"))
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


CALL = """\
import http.client, ssl, sys
link = http.client.HTTPSConnection("10.99.7.1", 7443, context=ssl.create_default_context(cafile=sys.argv[1]))
link.request("GET", "/v1/blobs/" + "0" * 64)
print(link.getresponse().status)
"""
"""A call without a token to the head's hub, whose certificate must be the one in a file."""


class Host:
    """A network and a host's name, which a process holds, and a folder."""

    def __init__(self, name: str) -> None:
        self.name = f"{name}{secrets.token_hex(2)}"
        self.folder = Path(tempfile.mkdtemp(prefix="cluster"))
        self.folder.chmod(0o755)
        (self.folder / "images.yaml").write_text("{}\n")
        words = ["unshare", "--net", "--uts", "sh", "-c", 'hostname "$0"; ip link set lo up; exec sleep infinity']
        self.holder = subprocess.Popen([*DIES, *words, self.name], stdin=subprocess.DEVNULL)
        await_for(lambda: self._through("hostname").stdout.strip() == self.name, 10, "no namespace is made")
        self.space = os.readlink(f"/proc/{self.holder.pid}/ns/net")

    @property
    def into(self) -> tuple[str, ...]:
        return "nsenter", f"--net=/proc/{self.holder.pid}/ns/net", f"--uts=/proc/{self.holder.pid}/ns/uts"

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "CC_IMAGES_STORE": str(self.folder / "store"),
            "CC_IMAGES_CONFIG": str(self.folder / "images.yaml"),
            "SLURM_CONF": str(self.folder / "cluster/slurm.conf"),
        }

    def _through(self, *words: str, fed: str = "") -> subprocess.CompletedProcess[str]:
        argv = [*self.into, *words]
        return subprocess.run(argv, input=fed, env=self.environ, capture_output=True, text=True, timeout=120)

    def say(self, *words: str) -> str:
        done = self._through(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def cluster(self, action: str, *words: str, fed: str = "") -> str:
        """Do `cc-images cluster`, which succeeds."""
        done = self._cluster(action, *words, fed=fed)
        assert done.returncode == 0, f"{action}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def refused(self, action: str, *words: str, fed: str = "") -> str:
        """Do `cc-images cluster`, which fails; return why."""
        done = self._cluster(action, *words, fed=fed)
        assert done.returncode in (2, 3), done.stdout
        return done.stderr

    def _cluster(self, action: str, *words: str, fed: str) -> subprocess.CompletedProcess[str]:
        where = () if "--folder" in words else ("--folder", f"{self.folder}/cluster")
        began = time.monotonic()
        done = self._through(sys.executable, "-m", "cc_images", "cluster", action, *words, *where, fed=fed)
        print(f"{self.name} {action}: {time.monotonic() - began:.1f} s")
        return done

    def begin(self, action: str, *words: str) -> subprocess.Popen[bytes]:
        """Begin `cc-images cluster`."""
        argv = (sys.executable, "-m", "cc_images", "cluster", action, *words, "--folder", f"{self.folder}/cluster")
        return subprocess.Popen(
            [*self.into, *argv], env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def service(self, name: str) -> int:
        """Return the process of a service."""
        return int((self.folder / f"cluster/run/{name}.pid").read_text().split()[0])

    def logs(self) -> str:
        return "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in self.folder.glob("cluster/log/*"))

    def processes(self) -> dict[int, str]:
        """Return the processes of this host, but for the one that holds it."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if int(path.name) != self.holder.pid and os.readlink(path / "ns/net") == self.space:
                    found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return {number: words for number, words in found.items() if alive(number)}

    def kept(self) -> dict[str, tuple[int, bytes]]:
        """Return keys, configuration, and which processes there are."""
        names = ("cluster.json", "slurm.conf", "hub.pem", "hub.key", "munge/munge.key", "run/*.pid")
        files = [file for name in names for file in self.folder.glob(f"cluster/{name}")]
        return {file.name: (file.stat().st_ino, file.read_bytes()) for file in [*files, self.folder / "builders.yaml"]}

    def end(self) -> None:
        for number in self.processes():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        await_for(lambda: not self.processes(), 10, "processes are left")
        self.holder.kill()
        self.holder.wait(10)
        for path in sorted(FREEZER.glob(f"slurm_{self.name}/**/"), reverse=True):
            with suppress(OSError):
                path.rmdir()
        shutil.rmtree(self.folder)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    head = Host("head")
    try:
        node = Host("node")
        try:
            head.say("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", str(node.holder.pid))
            for host, address in ((head, "10.99.7.1"), (node, "10.99.7.2")):
                host.say("ip", "address", "add", f"{address}/24", "dev", "up0")
                host.say("ip", "link", "set", "up0", "up")
            yield head, node
        finally:
            node.end()
    finally:
        head.end()


def test_from_one_host_to_two(hosts: tuple[Host, Host]) -> None:
    head, node = hosts
    head.cluster("up", "--address", "10.99.7.1", "--dry-run")
    assert not [*head.folder.glob("cluster/*"), *head.processes()]
    said = head.cluster("up", "--address", "10.99.7.1").splitlines()
    assert {"started slurmctld", "hub answers"} <= set(said)
    before, running = head.kept(), head.processes()
    assert "nothing to do" in head.cluster("up")
    assert (head.kept(), head.processes()) == (before, running)

    token = head.cluster("token").strip()
    joined = node.cluster("join", "-", fed=token)
    assert "has added this host" in joined
    assert {each["name"] for each in json.loads(node.cluster("status", "--json"))["nodes"]} == {head.name, node.name}
    for host in (head, node):
        words = ("--output=/dev/null", f"--nodelist={host.name}", f"--wrap=uname -n >{host.folder}/out")
        head.say("sbatch", *words)
    for host in (head, node):
        await_for((host.folder / "out").exists, 40, "no job runs")
        await_for(partial(said_by, host), 5, "the job ran elsewhere")

    states = {each["name"]: each["state"] for each in json.loads(head.cluster("status", "--json"))["nodes"]}
    assert set(states) == {head.name, node.name}
    assert set(states.values()) <= {"idle", "idle+completing"}
    found = json.loads(head.say(sys.executable, "-m", "cc_images", "builders", "--json"))
    assert {each["name"]: each["state"] for each in found["builders"]}["cluster"] == "idle"
    assert "401" in node.say(sys.executable, "-c", CALL, f"{node.folder}/cluster/hub.pem"), (
        "the hub is known, and answers"
    )

    assert "nothing to do" in node.cluster("join", "-", fed=token)
    os.kill(node.service("slurmd"), signal.SIGKILL)
    assert "started slurmd" in node.cluster("up")
    other = f"{node.folder}/other"
    assert re.search("was used|does not answer", node.refused("join", "-", "--folder", other, fed=token))
    key = (head.folder / "cluster/munge/munge.key").read_bytes()
    assert key == (node.folder / "cluster/munge/munge.key").read_bytes()
    secret = json.loads(base64.urlsafe_b64decode(token.partition(".")[2] + "=="))["secret"]
    assert not readable(head, node, canaries=(secret.encode(), key, base64.b64encode(key)))

    for host in (node, head):
        host.cluster("down")
        assert not host.processes()
    assert "nothing" in head.cluster("down")
    head.cluster("up")
    assert {name: head.kept()[name] for name in KEPT} == {name: before[name] for name in KEPT}
    head.cluster("down")


def test_a_node_that_leaves_has_nothing_of_the_cluster_and_may_join_again(hosts: tuple[Host, Host]) -> None:
    head, node = hosts
    head.cluster("up", "--address", "10.99.7.1")
    assert "head of its cluster" in head.refused("leave")
    (node.folder / "cluster").mkdir()
    (node.folder / "cluster/mine").write_text("not of the cluster\n")
    before = everything(node)
    for _ in range(2):
        node.cluster("join", "-", fed=head.cluster("token").strip())
        head.say("sbatch", "--output=/dev/null", f"--nodelist={node.name}", "--wrap=sleep 600")
        await_for(lambda: "RUNNING" in head.say("squeue", "--noheader", "--format=%T"), 60, "the job does not start")
        assert "jobs are at work" in node.refused("leave")
        assert "has left the cluster" in node.cluster("leave", "--with-jobs")
        assert not node.processes()
        assert everything(node) == before
        states = {each["name"]: each["state"] for each in json.loads(head.cluster("status", "--json"))["nodes"]}
        assert states[node.name].startswith("down"), states
        assert states[head.name].startswith("idle"), "the others go on"
    assert "in no cluster" in node.refused("leave")
    head.cluster("down")


def everything(host: Host) -> set[str]:
    """Return the names of all files of a host, but for the store."""
    found = {str(path.relative_to(host.folder)) for path in host.folder.rglob("*")}
    return {each for each in found if not each.startswith("store")}


BUSYBOX = shutil.which("busybox") or ""

RECIPE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "for i in $(/bin/busybox seq 60); do echo NAME $i; /bin/busybox sleep 0.5; done"]
"""

PROGRAM = """\
#!/bin/sh
export PYTHONPATH={repository} CC_IMAGES_STORE={folder}/of-$(hostname)
exec {python} -m cc_images "$@"
"""


@pytest.mark.skipif(bool(why := lacking(("buildah", "busybox"))), reason=why or "-")
def test_a_whole_run_goes_through_it_while_its_daemons_are_killed(hosts: tuple[Host, Host]) -> None:
    """Two images on two nodes: the controller and a node's daemon die, and no attempt is lost or done twice."""
    head, node = hosts
    head.cluster("up", "--address", "10.99.7.1")
    node.cluster("join", "-", fed=head.cluster("token").strip())
    program = head.folder / "cc-images"
    program.write_text(PROGRAM.format(repository=REPOSITORY, folder=head.folder, python=sys.executable))
    program.chmod(0o755)
    entry = (head.folder / "builders.yaml").read_text()
    (head.folder / "builders.yaml").write_text(entry.replace("{slurm", f"{{limits: 2, command: {program}, slurm"))
    images = "".join(
        f"CC-{name}: {{builder: containerfile, context: {name}, formats: [oci]}}\n" for name in ("one", "two")
    )
    (head.folder / "images.yaml").write_text(images)
    (head.folder / "sites.yaml").write_text("")
    for name in ("one", "two"):
        (head.folder / name).mkdir()
        shutil.copy(BUSYBOX, head.folder / name / "busybox")
        (head.folder / name / "Containerfile").write_text(RECIPE.replace("NAME", name))
    words = (sys.executable, "-m", "cc_images", "-b", "-a", "amd64", "--on", "cluster", "cc-one", "cc-two")
    with (head.folder / "said").open("w") as said:
        run = subprocess.Popen(
            [*head.into, *words], env=head.environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )

    def at_work() -> set[str]:
        """Return the names of hosts that have been at a build for ten seconds: Slurm may forget younger jobs."""
        logs = head.folder.glob("of-*/logs/a*/layer-cc-*.log")
        return {log.parts[-4].removeprefix("of-") for log in logs if re.search("^(one|two) 20$", log.read_text(), re.M)}

    await_for(lambda: at_work() == {head.name, node.name}, 120, "both nodes build")
    for host, service in ((head, "slurmctld"), (node, "slurmd")):
        os.kill(host.service(service), signal.SIGKILL)
    assert "started slurmctld" in head.cluster("up")
    assert "started slurmd" in node.cluster("up")
    assert run.wait(300) == 0, (head.folder / "said").read_text()
    claims = [json.loads(path.read_text()) for path in head.folder.glob("store/attempts/*/claim.json")]
    assert sorted(each["tasks"][0] for each in claims) == [
        f"{verb} cc-{name} amd64" for verb in ("build", "layer") for name in ("one", "two")
    ], "none was lost"
    assert {each["builder"] for each in claims} == {"cluster"}
    logs = [path.read_text() for path in head.folder.glob("of-*/logs/a*/layer-cc-*.log")]
    assert sorted(log.count(" 60\n") for log in logs) == [1, 1], "none was done twice"
    for name in ("one", "two"):
        (record,) = (json.loads(path.read_text()) for path in head.folder.glob(f"store/builds/cc-{name}/amd64/2*.json"))
        digest = record["outputs"]["oci"]["digest"]
        (blob,) = head.folder.glob(f"store/blobs/sha256/*/{digest}")
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == digest
    await_for(lambda: not head.say("squeue", "--noheader").strip(), 60, "jobs are left")
    node.cluster("down")
    head.cluster("down")


@pytest.mark.deep
def test_a_daemon_that_was_killed_is_started_again_and_no_other_one(hosts: tuple[Host, Host]) -> None:
    head, _ = hosts
    head.cluster("up", "--address", "10.99.7.1")
    os.kill(head.service("slurmctld"), signal.SIGKILL)
    said = [each for each in head.cluster("up").splitlines() if not each.startswith("to do")]
    assert said[:2] == ["started slurmctld", "slurmctld answers"]
    assert not {"started munged", "started slurmd", "started hub"} & set(said)
    head.say("sbatch", "--output=/dev/null", "--wrap=sleep 600")
    await_for(lambda: "RUNNING" in head.say("squeue", "--noheader", "--format=%T"), 40, "the job does not start")
    assert "jobs are at work" in head.refused("down")
    head.cluster("down", "--with-jobs")
    assert not head.processes()


@pytest.mark.deep
def test_up_killed_at_random_moments_leaves_nothing_half_made(hosts: tuple[Host, Host]) -> None:
    head, _ = hosts
    for moment in range(16):
        up = head.begin("up", "--address", "10.99.7.1")
        with suppress(subprocess.TimeoutExpired):
            up.wait(1.5 + moment / 4 if moment % 2 else random.uniform(0.5, 4))
        up.kill()
        up.wait(10)
        if moment % 4 == 3 and (head.folder / "cluster/cluster.json").exists():
            head.cluster("down")
            assert not head.processes()
    head.cluster("up")
    programs = ("munged", "slurmctld", "slurmd", "store serve")
    words = [words for words in head.processes().values() if "setproctitle" not in words]
    assert {each: sum(each in line for line in words) for each in programs} == dict.fromkeys(programs, 1), words
    head.cluster("down")
    assert not head.processes()


@pytest.mark.deep
def test_join_killed_at_random_moments_can_be_repeated(hosts: tuple[Host, Host]) -> None:
    head, node = hosts
    head.cluster("up", "--address", "10.99.7.1")
    for _ in range(6):
        (node.folder / "token").write_text(head.cluster("token"))
        join = node.begin("join", str(node.folder / "token"))
        with suppress(subprocess.TimeoutExpired):
            join.wait(random.uniform(0.8, 3.5))
        join.kill()
        join.wait(10)
        kept = (node.folder / "cluster/answer.json").exists()
        if not kept and not (node.folder / "cluster/cluster.json").exists():
            (node.folder / "token").write_text(head.cluster("token"))
        node.cluster("join", str(node.folder / "token"))
        assert not (node.folder / "cluster/answer.json").exists()
        states = {each["name"]: each["state"] for each in json.loads(node.cluster("status", "--json"))["nodes"]}
        assert states[node.name] == "idle"
        assert len(states) == 2
        node.cluster("down")
        assert not node.processes()
        shutil.rmtree(node.folder / "cluster")


def said_by(host: Host) -> bool:
    """Return whether a job has said that it ran on a host."""
    return (host.folder / "out").read_text() == f"{host.name}\n"


KEPT = ("cluster.json", "hub.pem", "hub.key", "munge.key", "builders.yaml")


def readable(*hosts: Host, canaries: tuple[bytes, ...]) -> list[str]:
    """Return the files that others may read, logs, arguments and environments that have a secret."""
    found = []
    for host in hosts:
        for path in (path for path in host.folder.rglob("*") if path.is_file()):
            is_open = path.stat().st_mode & 0o077 or "log" in path.parts
            if is_open and any(each in path.read_bytes() for each in canaries):
                found.append(str(path))
        for number in host.processes():
            for path in (Path(f"/proc/{number}/cmdline"), Path(f"/proc/{number}/environ")):
                with suppress(OSError):
                    if any(each in path.read_bytes() for each in canaries):
                        found.append(str(path))
    return found
