"""Attempts: one try to do the tasks of one image on another host, as values.

The head is the host whose store is the record; a builder host does what it is given. Only a builder whose claim is
open may bring results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

ATTEMPT = re.compile(r"a[0-9a-f]{32}")
"""The form of an attempt's id: random, and never used again."""


HERE = "here"
"""The name of this host where builders.yaml has none for it."""


class JobState(StrEnum):
    """What a launcher sees of an attempt's job. None of it proves that the job's processes are gone."""

    UNKNOWN = "unknown"
    """It does not answer, or knows no such job."""
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who does which tasks where; written once, before anything is started."""

    attempt: str
    run: str
    """The unique name of the run at the head."""
    tasks: tuple[str, ...]
    """The tasks, in their order."""
    builder: str
    """The name of the builder host."""
    made: float
    """When it was made, in seconds since 1970 by the head's clock."""
    trusted: bool = False
    """Whether the builder host gets secrets."""
    before: str = ""
    """The attempt that this one follows, if that was lost."""
    owner: str = ""
    """The user who began the run; empty in claims of older versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A chain that waits for a place on a builder host."""

    chain: str
    """The id of its first task."""
    run: str
    since: float
    """In seconds since 1970 by the head's clock."""
    why: str
    """The builder hosts that are busy, in words."""
    hosts: tuple[str, ...] = ()
    """Their names."""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A permission to work for so many seconds, from the moment at which the builder asked for it."""

    seconds: float
    stop: bool = False
    """Whether the head wants the attempt to end."""
    asked: float = 0.0
    """When the builder sent the request that was granted, by its own CLOCK_BOOTTIME; the head leaves it at 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The last lease that the head has granted, as it remembers it."""

    at: float
    """When, in seconds since 1970 by the head's clock; it never goes backwards."""
    seconds: float
    nonce: str
    """The execution that the attempt is bound to: whatever asked first."""
    first: float
    """When the first lease was granted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """All that a builder host needs to do an attempt; a secret. It travels on standard input alone."""

    attempt: str
    token: str = field(repr=False)
    address: str
    """The hub: https://host:port, http://127.0.0.1:port through a tunnel, or unix:/path."""
    ca: str = ""
    """The certificate that signed the hub's, as PEM; empty: no TLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A cloud that makes machines for builds, and what they are like."""

    cloud: str
    """Its entry in clouds.yaml."""
    flavor: str
    image: str
    network: str = "auto"
    """A network's name; auto: the project's own; none."""
    key: str = ""
    """The name of a key pair in the cloud."""
    user: str = "debian"
    """Whom ssh logs in as."""
    zone: str = ""
    """The availability zone; empty: the cloud chooses."""
    reserve: int = 0
    """Machines that are kept warm."""
    maximum: int = 1
    ttl: int = 12 * 3600
    """Seconds after which anybody may destroy a machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderHost:
    """An entry of builders.yaml: where attempts are done."""

    name: str
    architectures: tuple[str, ...] = ()
    """Architectures that it builds for; empty: its own."""
    ssh: str = ""
    slurm: Mapping[str, str] = field(default_factory=dict)
    """partition, constraint, account, options."""
    tasks: int = 1
    """Chains that it does at a time."""
    scratch: str = ""
    """The folder of its store; empty: as its own configuration says."""
    trusted: bool = False
    """Whether it gets secrets."""
    local: bool = False
    """Whether it is this host."""
    command: str = "cc-images"
    """The program there."""
    hub: str = ""
    """The address at which it reaches the head's store; empty: through ssh."""
    ca: str = ""
    """The file with the certificate that signed the hub's."""
    retries: int = 1
    """New attempts after one that was lost."""
    provider: Provider | None = None
    """The cloud that makes its machines, or the nodes of its scheduler."""

    @property
    def tasks_on_one(self) -> int:
        """How many chains one machine of it does at a time: one, where each has a machine of its own."""
        return 1 if self.kind == "machine" else self.tasks

    @property
    def kind(self) -> str:
        """How jobs are started there: by ssh, by slurm, on a machine made for it, or not at all for this host."""
        if self.provider is not None and not self.slurm:
            return "machine"
        return "here" if self.local else "ssh" if self.ssh else "slurm"
