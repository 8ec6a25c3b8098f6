"""The parts of a cluster's hosts: their files, the texts of their configuration, and their services."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cc_images.remote.cluster import Service, Wanted

FORMAT = 1

PORTS = {"controller": 6817, "node": 6818, "hub": 7443, "joins": 7444}

PROGRAMS: Mapping[str, str] = {
    "munged": "munge",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "scontrol": "slurm-client",
}
"""Programs of every host of a cluster, and Debian's packages that have them."""

HEAD_PROGRAMS: Mapping[str, str] = {**PROGRAMS, "slurmctld": "slurmctld", "openssl": "openssl"}

TOOLS = Wanted(programs=PROGRAMS)
"""What a host has before it asks to join: its version of Slurm is compared."""

MUNGED, CONTROLLER, NODE, HUB, JOINS = "munged", "slurmctld", "slurmd", "hub", "joins"
SERVICES = (MUNGED, CONTROLLER, NODE, HUB, JOINS)
"""All services that a host may have, in the order in which they are started."""

OF_A_NODE = ("answer.json", "slurm.conf", "cgroup.conf", "hub.pem", "munge", "state", "spool", "run", "log")
"""The files and folders of a node in its folder, besides its settings."""

MUNGE_KEY, CERTIFICATE, ENTRY, LINK = "the key of munge", "the hub's certificate", "the entry in", "the link"

CONFIGURATION = """\
# Written by `cc-images cluster`; it is written again when a host joins.
ClusterName={cluster.name}
SlurmctldHost={cluster.head}({cluster.address})
SlurmctldPort={ports[controller]}
SlurmdPort={ports[node]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place.socket}
StateSaveLocation={place.state}
SlurmdSpoolDir={place.spool}
SlurmctldPidFile={place.folder}/run/slurm-controller.pid
SlurmdPidFile={place.folder}/run/slurm-node.pid
MailProg=/bin/true
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
DebugFlags=NO_CONF_HASH
TreeWidth=65533
MpiDefault=none
ReturnToService=2
JobRequeue=0
{nodes}
PartitionName=main Nodes=ALL Default=YES State=UP MaxTime=INFINITE
"""
"""Hosts of a cluster have files of their own, which name themselves and the head: nodes send each other nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A host on which jobs run; memory in MiB."""

    name: str
    address: str
    cores: int
    memory: int
    arch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster as one of its hosts knows it."""

    name: str
    head: str
    """The head's name as a host, without its domain."""
    address: str
    """The head's address."""
    me: Node
    """This host."""
    hub_user: str = ""
    """The user whose store the head serves; empty at other hosts."""
    store: str = ""
    home: str = ""
    format: int = FORMAT

    @property
    def is_head(self) -> bool:
        return bool(self.store)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a host has the files of its cluster."""

    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "cluster.json"

    @property
    def nodes(self) -> Path:
        return self.folder / "nodes"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"

    @property
    def configuration(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def munge(self) -> Path:
        return self.folder / "munge"

    @property
    def munge_key(self) -> Path:
        return self.munge / "munge.key"

    @property
    def socket(self) -> Path:
        return self.munge / "munge.socket"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def certificate(self) -> Path:
        return self.folder / "hub.pem"

    @property
    def key(self) -> Path:
        return self.folder / "hub.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What this host is like: how processes are followed, who runs munged, and how cc-images is called."""

    tracking: str
    """linuxproc, cgroup/v1, or cgroup/autodetect."""
    munge_user: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


def configuration(cluster: Cluster, place: Place, nodes: tuple[Node, ...], tracking: str) -> str:
    """Return slurm.conf."""
    lines = [
        f"NodeName={each.name} NodeHostname={each.name} NodeAddr={each.address} "
        f"CPUs={each.cores} RealMemory={each.memory} Feature={each.arch}"
        for each in sorted(nodes, key=lambda each: each.name)
    ]
    return CONFIGURATION.format(
        cluster=cluster, place=place, ports=PORTS, tracking=tracking.partition("/")[0], nodes="\n".join(lines)
    )


def wanted(cluster: Cluster, place: Place, nodes: tuple[Node, ...], habits: Habits, made: tuple[str, ...]) -> Wanted:
    """Return all that a host has; `nodes` are those that it must know, itself among them."""
    text = configuration(cluster, place, nodes, habits.tracking)
    own = configuration(cluster, place, (cluster.me,), habits.tracking)
    texts = {str(place.configuration): text}
    if habits.tracking != "linuxproc":
        texts[str(place.folder / "cgroup.conf")] = f"CgroupPlugin={habits.tracking.removeprefix('cgroup/')}\n".replace(
            "=v1", "=cgroup/v1"
        )
    services = [_munged(place, habits)]
    if cluster.is_head:
        services.append(_slurm(CONTROLLER, ("slurmctld", "-D"), text, place))
    services.append(_slurm(NODE, ("slurmd", "-D", "-N", cluster.me.name), own, place))
    if cluster.is_head:
        services.append(_hub(cluster, place, habits))
    programs = HEAD_PROGRAMS if cluster.is_head else PROGRAMS
    return Wanted(programs=programs, made=made, texts=texts, services=tuple(services))


def _munged(place: Place, habits: Habits) -> Service:
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "seed-file": "munge.seed"}
    words = [f"--{word}={place.munge / name}" for word, name in files.items()]
    return _service(MUNGED, ("munged", "--foreground", "--num-threads=2", *words), "", {}, habits.munge_user)


def _slurm(name: str, argv: tuple[str, ...], text: str, place: Place) -> Service:
    file = str(place.configuration)
    return _service(name, (*argv, "-f", file), text, {"SLURM_CONF": file}, "")


def _hub(cluster: Cluster, place: Place, habits: Habits) -> Service:
    argv = (
        *habits.command, "store", "serve", "--listen", f"{bracketed(cluster.address)}:{PORTS['hub']}",
        "--tls-cert", str(place.certificate), "--tls-key", str(place.key),
    )  # fmt: skip
    more = {**habits.environment, "CC_IMAGES_STORE": cluster.store, "HOME": cluster.home}
    return _service(HUB, argv, "", more, cluster.hub_user)


def joins(place: Place, habits: Habits) -> Service:
    """Return the service that answers hosts that join; it ends with the last token."""
    argv = (*habits.command, "cluster", "admit", "--folder", str(place.folder))
    return _service(JOINS, argv, "", habits.environment, "", stays=False)


def _service(
    name: str, argv: tuple[str, ...], reads: str, more: Mapping[str, str], user: str, stays: bool = True
) -> Service:
    whole = "\0".join((*argv, reads, *(f"{key}={value}" for key, value in sorted(more.items())), user))
    stamp = hashlib.sha256(whole.encode()).hexdigest()[:16]
    return Service(
        name=name, argv=argv, stamp=stamp, environment=more, user="" if user == "root" else user, stays=stays
    )


def unit(service: Service) -> str:
    """Return the unit of systemd for a service."""
    lines = [
        f"# stamp {service.stamp}",
        "[Unit]",
        f"Description=cc-images cluster: {service.name}",
        "After=network-online.target" + ("" if service.name == MUNGED else f" cc-images-{MUNGED}.service"),
        "Wants=network-online.target",
        "[Service]",
        "Type=exec",
        "ExecStart=" + " ".join(_quoted(word) for word in service.argv),
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(service.environment.items())),
        *([f"User={service.user}"] if service.user else []),
        f"Restart={'on-failure' if service.stays else 'no'}",
        *(["KillMode=process", "Delegate=yes"] if service.name == NODE else []),
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def bracketed(address: str) -> str:
    """Return an address as it stands before a port."""
    return f"[{address}]" if ":" in address else address


def entry(cluster: Cluster, place: Place) -> str:
    """Return the line of builders.yaml for the cluster."""
    return (
        f"{cluster.name}: {{slurm: {{constraint: {cluster.me.arch}}}, architectures: [{cluster.me.arch}], "
        f"hub: 'https://{bracketed(cluster.address)}:{PORTS['hub']}', hub-ca: '{place.certificate}'}}\n"
    )
