"""Machines that a cloud has for builds, as a head observes them, and the steps that it takes. Values only.

A machine belongs to the head that its tags name, and to nobody by its name. A head keeps a record for each machine that
it asks for, written before it asks, so a machine of its own without a record is one that nobody waits for: its creation
was answered by an error, or its record was given up. That holds because the cloud is looked at before the records are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What the cloud says of a machine."""

    BUILD = "build"
    ACTIVE = "active"
    ERROR = "error"
    STOPPED = "stopped"
    LEAVING = "leaving"
    """It is being destroyed."""
    UNKNOWN = "unknown"
    """Anything else: it is being restarted, or the cloud does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as the cloud shows it. Empty tags: it is none of ours, whatever its name."""

    id: str
    name: str
    state: State
    created: float = 0.0
    """When, in seconds since 1970 by the cloud's clock."""
    address: str = ""
    cluster: str = ""
    """The entry of builders.yaml that it is for."""
    head: str = ""
    """The head that has made it."""
    run: str = ""
    """The want that it was made for, for people; empty for one of the reserve."""
    expires: float | None = None
    """When anybody may destroy it."""
    fault: str = ""
    """Why the cloud could not start it."""
    tried: float | None = None
    """When this process last asked the cloud to destroy it."""

    @property
    def ready(self) -> bool:
        """Whether it runs and can be reached."""
        return self.state is State.ACTIVE and bool(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A machine that the head has asked for. A name is used for one request, and never again."""

    name: str
    made: float
    """When it was written, before the cloud was asked."""
    id: str = ""
    """The machine's id, once that is known."""
    want: str = ""
    """Who uses it."""
    doomed: str = ""
    """Why it is to be destroyed; nobody uses it any more."""
    trouble: bool = False
    """Whether that is because the cloud could not make it."""
    public_key: str = ""
    """The ssh host key by which it is known."""
    gone: bool = False
    """Whether the cloud says that there is no such machine, when it is asked by id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Somebody who lives and needs a machine for one job: an attempt, or a node of a scheduler."""

    id: str
    since: float = 0.0
    node: bool = False
    """Whether the machine is made for it alone, because it has the node's name from its first start on."""
    served: str = ""
    """The name of the machine that it got. It gets no second one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How many machines, and how long; times are in seconds."""

    reserve: int = 0
    """Machines that are kept warm besides those in use."""
    maximum: int = 1
    ttl: float = 12 * 3600.0
    """The time from the request to the moment at which anybody may destroy a machine."""
    least: float = 6 * 3600.0
    """The time that a machine must have left when a job begins."""
    build_within: float = 900.0
    """The time in which a machine must be ready."""
    settle: float = 120.0
    """The time after which a machine of which nothing is seen is given up; it is destroyed if it comes later."""
    pause: float = 60.0
    """The time after a request that failed in which no other is made."""
    destroy_every: float = 60.0
    skew: float = 300.0
    """How far the clocks of two heads may be apart."""
    look_every: float = 5.0
    tries: int = 3
    """Machines that fail before somebody who waits gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The cloud's machines and then the head's records and wants, the longest-waiting want first."""

    head: str
    cluster: str
    now: float
    machines: tuple[Machine, ...] = ()
    records: tuple[Record, ...] = ()
    wants: tuple[Want, ...] = ()
    policy: Policy = Policy()
    me: str = ""
    """The want of the process that decides, if it has one."""
    failures: Sequence[str] = ()
    """Why machines failed since this process began to look, one for each."""

    def owns(self, machine: Machine) -> bool:
        """Say whether a machine's tags name this head and this entry."""
        return (machine.head, machine.cluster) == (self.head, self.cluster)

    @property
    def own(self) -> list[Machine]:
        """The machines of this head, the oldest first."""
        return sorted(filter(self.owns, self.machines), key=lambda each: (each.created, each.id))

    def record(self, machine: Machine) -> Record | None:
        """Return the record of a machine."""
        return next((each for each in self.records if each.id == machine.id), None)

    def machine(self, record: Record) -> Machine | None:
        """Return the machine of a record, if it is seen."""
        return next((each for each in self.own if record.id and each.id == record.id), None)

    @property
    def spare(self) -> list[Record]:
        """Records of machines that are good, or may become so, and that nobody uses."""
        return [each for each in self.records if not each.want and not each.doomed]

    @property
    def waiting(self) -> list[Want]:
        """Who waits for a machine, in order."""
        return [each for each in self.wants if not each.served]


# -- steps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Look again at this moment at the latest."""

    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Write a record with a new name, and ask the cloud for the machine, once."""

    node: str = ""
    """The node that it is made for."""
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Write into a record which machine it is. From then on no other one counts."""

    name: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Give a machine to who waits for it."""

    name: str
    want: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Destroy:
    """Let nobody use a machine any more, and ask the cloud to destroy it."""

    id: str
    why: str
    name: str = ""
    """Its record's name; empty for one without a record."""
    trouble: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Remove the record of a machine that is not there."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Give up waiting."""

    why: str


Step = Wait | Create | Note | Use | Destroy | Forget | Fail
