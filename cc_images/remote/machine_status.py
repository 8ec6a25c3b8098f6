"""The machines of an entry of builders.yaml as people see them: what the cloud says, and the records of this head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cc_images.errors import CCImagesError
from cc_images.model.attempt import BuilderHost
from cc_images.model.fleet import MachineState, MachineStatus
from cc_images.remote.cloud_machines import machine_loop
from cc_images.remote.launchers.ssh import looked_up
from cc_images.remote.machine_loop import MachineLoop
from cc_images.remote.machine_steps import Machine, Observed, Record, State
from cc_images.sites.cloud import LOOK
from cc_images.store.records import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """The machines of one entry, the oldest first, and who waits for one."""

    found: tuple[MachineStatus, ...] = ()
    waiting: frozenset[str] = frozenset()
    """The attempts, or nodes of a scheduler, that have none yet."""
    why: str = ""
    """Why the cloud says nothing of them; empty when it does."""


def machines(entry: BuilderHost, store: Store) -> Machines:
    """Return the machines of an entry; those of the records alone when the cloud does not answer in seconds."""
    return machines_of(machine_loop(entry, store.root, LOOK), looked_up)


def machines_of(loop: MachineLoop, address: Callable[[str], str]) -> Machines:
    """Return the machines of a loop; `address` returns host and port for a host, empty when it does not know."""
    try:
        observed, why = loop.observed(), ""
    except CCImagesError as error:
        why = error.message
        try:
            observed = loop.recorded()
        except CCImagesError as unreadable:
            return Machines(why=f"{why}; {unreadable.message}")
    found = [_status(record, observed, bool(why)) for record in observed.records]
    return Machines(
        found=tuple(replace(each, address=each.address and (address(each.address) or each.address)) for each in found),
        waiting=frozenset(each.id for each in observed.waiting),
        why=why,
    )


def _status(record: Record, observed: Observed, silent: bool) -> MachineStatus:
    machine = observed.machine(record)
    return MachineStatus(
        name=record.name,
        since=record.made,
        state=MachineState.UNKNOWN if silent else _state(record, machine, observed),
        id=record.id,
        address=machine.address if machine else "",
        user=record.want,
    )


def _state(record: Record, machine: Machine | None, observed: Observed) -> MachineState:
    living = {each.id for each in observed.wants}
    over = record.doomed or record.gone or (record.want and record.want not in living)
    if over or (machine is not None and machine.state in (State.ERROR, State.STOPPED, State.LEAVING)):
        return MachineState.ENDING
    if machine is None or not machine.ready:
        return MachineState.STARTING
    return MachineState.ACTIVE if record.want else MachineState.RESERVE
