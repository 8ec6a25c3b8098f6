"""A real Slurm on loopback for tests: Debian's munge, slurmctld and slurmd, without systemd and accounting.

The controller and each node have network namespaces of their own: this host has a link to the controller's, and that
one to each node. The namespaces have no name: they end, with their links, when the last process in them does.

Where this host has the freezer of control groups, version 1, Slurm follows a job's processes by it, as clusters do;
elsewhere by their parents, which loses those that a dead parent has left.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.conftest import lacking

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "ip", "nsenter", "unshare")
REASON = lacking(TOOLS)

PORTS = (26817, 26818)
"""Ports of the controller and of a node's daemon."""

HEAD = "head"

FREEZER = Path("/sys/fs/cgroup/freezer")

DIES = ("setpriv", "--pdeathsig", "KILL", "--")

CONFIGURATION = """\
ClusterName=bed
SlurmctldHost={host}({address})
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock
MailProg=/bin/true
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
JobRequeue=0
MessageTimeout=5
{more}
{nodes}
PartitionName=main Nodes=ALL Default=YES State=UP
PartitionName=closed Nodes=ALL State=UP AllowGroups=nobody-has-it
"""


class SlurmBed:
    """A Slurm with some nodes while it is entered; control groups are named after nodes, so no other bed has theirs."""

    def __init__(self, *, nodes: int = 2, cores: int = 4, more: str = "") -> None:
        """Prepare a Slurm; `more` are further lines of its configuration, with NODE1 for the first node and so on."""
        self.folder = Path(tempfile.mkdtemp(prefix="slurmbed"))
        self.folder.chmod(0o755)
        self._net = _free_net()
        self.nodes = [f"bed{self._net.partition('.')[2]}n{number}" for number in range(1, nodes + 1)]
        self.sees_orphans = os.access(FREEZER / "cgroup.procs", os.W_OK)
        """Whether Slurm knows a job's processes whose parent is dead."""
        self.host = f"{self._net}.0.1"
        self._cores, self._more = cores, more
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._spaces: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The variable that makes Slurm's commands use this one."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self) -> SlurmBed:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        self._end()

    def _start(self) -> None:
        for name in ("state", "spool", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        self._configure()
        munge = {"key-file": key.name, "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
        words = [f"--{word}={self.folder / name}" for word, name in (munge | {"seed-file": "munge.seed"}).items()]
        self._daemon("munged", "munged", "--foreground", "--num-threads=2", *words)
        await_for(lambda: (self.folder / "munge.sock").exists(), 10, "munged makes no socket")
        self._link()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        await_for(lambda: set(self.states().values()) == {"IDLE"}, 30, "the nodes do not come up")

    def _configure(self) -> None:
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={node} NodeAddr={self._net}.{number}.2 CPUs={self._cores} RealMemory=4000"
            for number, node in enumerate(self.nodes, 1)
        )
        more = re.sub(r"NODE(\d+)", lambda found: self.nodes[int(found[1]) - 1], self._more)
        text = CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0], address=f"{self._net}.0.2", ports=PORTS, folder=self.folder,
            more=more, nodes=nodes, tracking="cgroup" if self.sees_orphans else "linuxproc",
        )  # fmt: skip
        if version() >= (24, 5):
            text = text.replace("CredType=cred/munge\n", "")
        if self.sees_orphans:
            (self.folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={FREEZER.parent}\n")
        elif version() >= (23, 11):
            (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        (self.folder / "slurm.conf").write_text(text)

    def _hold(self, name: str) -> int:
        """Make a network namespace, which a process of its own holds; return that one's id."""
        holder = subprocess.Popen([*DIES, "unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self._holders[name] = holder
        await_for(lambda: _namespace(holder.pid) != _namespace(os.getpid()), 10, "no network namespace is made")
        self._spaces[name] = _namespace(holder.pid)
        self.inside(name, "ip", "link", "set", "lo", "up")
        return holder.pid

    def _link(self) -> None:
        """Make the namespaces and links: this host to the head's, and each node to that."""
        pid = self._hold(HEAD)
        device = f"sb{pid}"
        _run("ip", "link", "add", device, "type", "veth", "peer", "name", "up0", "netns", str(pid))
        _run("ip", "address", "add", f"{self.host}/30", "dev", device)
        _run("ip", "link", "set", device, "up")
        self.inside(HEAD, "ip", "address", "add", f"{self._net}.0.2/30", "dev", "up0")
        self.inside(HEAD, "ip", "link", "set", "up0", "up")
        self.inside(HEAD, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        _run("ip", "route", "add", f"{self._net}.0.0/16", "via", f"{self._net}.0.2")
        for number, node in enumerate(self.nodes, 1):
            held = str(self._hold(node))
            self.inside(HEAD, "ip", "link", "add", node, "type", "veth", "peer", "name", "up0", "netns", held)
            self.inside(HEAD, "ip", "address", "add", f"{self._net}.{number}.1/30", "dev", node)
            self.inside(HEAD, "ip", "link", "set", node, "up")
            self.inside(node, "ip", "address", "add", f"{self._net}.{number}.2/30", "dev", "up0")
            self.restore(node)

    def inside(self, node: str, *words: str) -> str:
        """Run a command on a node's network; return its output."""
        return _run(*self._through(node), *words)

    def _through(self, node: str) -> tuple[str, str]:
        return "nsenter", f"--net=/proc/{self._holders[node].pid}/ns/net"

    def cut(self, node: str) -> None:
        """Take a node's link down."""
        self.inside(node, "ip", "link", "set", "up0", "down")

    def restore(self, node: str) -> None:
        """Put a node's link up again."""
        self.inside(node, "ip", "link", "set", "up0", "up")
        self.inside(node, "ip", "route", "replace", "default", "via", f"{self._net}.{self.nodes.index(node) + 1}.1")

    def await_saved(self) -> None:
        """Wait until the controller has saved what it knows now; the next time it does so is seconds away."""
        self.say("sbatch", "--output=/dev/null", "--begin=now+1hour", "--job-name=saved", "--wrap=true")
        jobs, now = self.folder / "state" / "job_state", time.time()
        await_for(lambda: jobs.exists() and jobs.stat().st_mtime > now, 15, "the controller saves nothing")

    def start_controller(self) -> None:
        """Start the controller and wait until it answers."""
        self._daemon("slurmctld", *self._through(HEAD), *DIES, "slurmctld", "-D")
        await_for(lambda: "UP" in self.say("scontrol", "ping"), 20, "slurmctld does not answer")

    def start_node(self, node: str, *, booted: bool = False) -> None:
        """Start a node's daemon; `booted`: let it say that the node has just been started."""
        words = ("-b",) if booted else ()
        self._daemon(node, *self._through(node), *DIES, "slurmd", "-D", "-N", node, *words)

    def kill(self, name: str) -> None:
        """Kill the controller (`slurmctld`) or a node's daemon at once; jobs are no children of a node's daemon."""
        process = self._daemons.pop(name)
        process.kill()
        process.wait(60)

    def _daemon(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [*DIES, *words], env=os.environ | self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def say(self, *words: str) -> str:
        """Run a command of Slurm's; return its output, whether it failed or not."""
        done = subprocess.run(
            words,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout + done.stderr

    def states(self) -> dict[str, str]:
        """Return the state of each node in Slurm's words, without those that come with them."""
        said = re.findall(
            r"^ *NodeName=(\S+).*?State=([A-Z_]+)", self.say("scontrol", "show", "node"), re.M | re.DOTALL
        )
        return dict(said)

    def processes(self, node: str) -> dict[int, str]:
        """Return the processes in a node's namespace but for the one that holds it, by their ids."""
        holder, found = self._holders[node].pid, {}
        for path in Path("/proc").glob("[0-9]*"):
            number = int(path.name)
            with suppress(OSError):
                if number != holder and _namespace(number) == self._spaces[node]:
                    found[number] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return found

    def job_processes(self, node: str) -> dict[int, str]:
        """Return the processes of jobs on a node."""
        named = self.processes(node).items()
        return {number: words for number, words in named if not Path(words.split(" ")[0]).name.startswith("slurm")}

    def _end(self) -> None:
        """End everything that is left, by process ids, jobs included, and remove the folder."""
        for name in [*self.nodes, "slurmctld"]:
            if name in self._daemons:
                self.kill(name)
        for node in self._spaces:
            deadline = time.monotonic() + 60
            while (left := self.processes(node)) and time.monotonic() < deadline:
                for number in left:
                    with suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
                time.sleep(0.02)
        for process in [*self._daemons.values(), *self._holders.values()]:
            process.kill()
            process.wait(60)
        for node in self.nodes:
            _remove_groups(FREEZER / f"slurm_{node}")
        shutil.rmtree(self.folder)


def version() -> tuple[int, ...]:
    """Return the version of the Slurm that is installed."""
    return tuple(int(part) for part in re.findall(r"\d+", _run("slurmctld", "-V")))[:2]


def await_for(holds: Callable[[], bool], seconds: float, why: str) -> None:
    """Wait until something holds; fail with the reason after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Return whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _remove_groups(top: Path) -> None:
    """Remove a control group and those below it; one that has just become empty may be in use for a moment."""
    deadline = time.monotonic() + 60
    for path in sorted([top, *(path for path in top.rglob("*") if path.is_dir())], reverse=True):
        while path.exists():
            with suppress(OSError):
                path.rmdir()
            assert time.monotonic() < deadline, f"{path} is not removed"


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def _namespace(process: int) -> str:
    return os.readlink(f"/proc/{process}/ns/net")


def _free_net() -> str:
    """Return a network, its first two numbers, in which this host has no address."""
    taken = {
        address["local"] for each in json.loads(_run("ip", "-j", "-4", "address")) for address in each["addr_info"]
    }
    nets = [f"10.{number}" for number in range(128, 255)]
    return secrets.choice([net for net in nets if not any(address.startswith(f"{net}.") for address in taken)])
