"""Builder hosts as people see them: how each stands, what is at work there, and what waits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from cc_images.model.attempt import Waiting
from cc_images.model.catalog import Json


class HostState(StrEnum):
    """How a builder host stands."""

    ACTIVE = "active"
    IDLE = "idle"
    UNFIT = "unfit"
    """It answers, and this head cannot use it."""
    SILENT = "silent"
    """It does not answer."""


class WorkState(StrEnum):
    """How an attempt, or a task of this host, stands."""

    STARTING = "starting"
    """It has never asked for a lease."""
    WORKING = "working"
    ENDING = "ending"
    """It was given up, or its run is dead; its last lease may still run."""
    UNHEARD = "unheard"
    """Its lease ran out, and it was not given up yet."""


class MachineState(StrEnum):
    """How a machine of a cloud stands."""

    ACTIVE = "active"
    """An attempt, or a node of a scheduler, has it."""
    RESERVE = "in reserve"
    """It runs, and waits for an attempt."""
    STARTING = "starting"
    """The cloud was asked for it; it does not run yet."""
    ENDING = "ending"
    """It is being destroyed."""
    UNKNOWN = "unknown"
    """There is a record of it, and the cloud does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStatus:
    """A machine that this head has asked a cloud for."""

    name: str
    since: float
    """When the cloud was asked, in seconds since 1970 by the head's clock."""
    state: MachineState
    id: str = ""
    """Its id in the cloud, once that is known."""
    address: str = ""
    """Host and port, as ssh takes them."""
    user: str = ""
    """The attempt, or the node of a scheduler, that has it."""
    task: str = ""
    """The task of that attempt."""
    owner: str = ""
    """The user who began its run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """An attempt on a builder host, or a task of this host, which has no attempt."""

    task: str
    """The task that it does now; the first one before it says which."""
    run: str
    began: float
    """In seconds since 1970 by the head's clock."""
    owner: str = ""
    doing: str = ""
    """The step that the task has told of last."""
    state: WorkState = WorkState.WORKING
    attempt: str = ""
    tasks: tuple[str, ...] = ()
    """All tasks of the attempt."""
    there: bool | None = None
    """Whether the host says that it is at work there; None: it was not asked."""

    @property
    def image(self) -> str:
        """The tag of its image; empty for a task that has none."""
        words = self.task.split()
        return words[1] if len(words) > 1 and words[0] != "fetch" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """One builder host."""

    name: str
    reached: str
    """How jobs get there: ssh, slurm, or this host."""
    address: str = ""
    architectures: tuple[str, ...] = ()
    """Those that it builds for, its own first."""
    state: HostState = HostState.IDLE
    why: str = ""
    """The reason for the state, or a remark."""
    cores: int = 0
    """0: not known."""
    limit: int = 0
    """Images that it works on at a time; 0: as the run says."""
    trusted: bool = False
    version: str = ""
    """Of cc-images there."""
    layers: int = 0
    """Layers in its store."""
    at_work: tuple[AtWork, ...] = ()
    strangers: tuple[str, ...] = ()
    """Attempts at work there that this head knows nothing of: another head's."""
    machines: tuple[MachineStatus, ...] = ()
    """The machines that a cloud has made for it, the oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStatus:
    """All builder hosts, and the chains that wait, the first one first."""

    now: float
    hosts: tuple[HostStatus, ...]
    queue: tuple[Waiting, ...] = ()

    def as_json(self) -> Json:
        """Return it as plain data."""
        hosts = [
            asdict(host)
            | {
                "at_work": [self._work(each) for each in host.at_work],
                "machines": [{"age": self.age(each.since), **asdict(each)} for each in host.machines],
            }
            for host in self.hosts
        ]
        queue = [
            {"position": number, "age": self.age(each.since), **asdict(each)}
            for number, each in enumerate(self.queue, 1)
        ]
        return {"builders": hosts, "queue_length": len(queue), "queue": queue}

    @property
    def outline(self) -> FleetStatus:
        """It for those who may know how much is at work and waits, and not whose, or what."""
        hosts = [
            replace(
                host,
                at_work=tuple(AtWork(task="", run="", began=each.began, state=each.state) for each in host.at_work),
                strangers=("",) * len(host.strangers),
                machines=tuple(
                    MachineStatus(name=each.name, since=each.since, state=each.state) for each in host.machines
                ),
            )
            for host in self.hosts
        ]
        queue = tuple(replace(each, chain="", run="", owner="") for each in self.queue)
        return replace(self, hosts=tuple(hosts), queue=queue)

    def _work(self, each: AtWork) -> Json:
        return asdict(each) | {"image": each.image, "age": self.age(each.began)}

    def age(self, since: float) -> float:
        """Return how long ago something was, in seconds."""
        return round(max(0.0, self.now - since), 1)
