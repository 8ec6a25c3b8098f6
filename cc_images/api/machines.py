"""Machines of clouds for builds: those of Slurm's nodes made and destroyed, and a sweep of what nobody owns."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cc_images.config.loader import Config
from cc_images.errors import CCImagesError, Interrupted, Reason, UserError
from cc_images.host import environment, process
from cc_images.model.attempt import BuilderHost
from cc_images.remote.cloud_machines import machine_loop
from cc_images.remote.machine_loop import MachineLoop
from cc_images.remote.machine_steps import Create, Destroy, Forget, Note, Step, Use, Want
from cc_images.remote.node_names import node_names
from cc_images.remote.slurm_nodes import PowerDown, believed, contradictions
from cc_images.sites.cloud import Patience

GONE_WITHIN = 600.0
"""Seconds in which a cloud destroys a machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """A node of Slurm's, and its machine."""

    node: str
    address: str = ""
    trouble: str = ""
    """Why it has no machine, or still has one."""


def create(config: Config, words: Sequence[str], builder: str, stop: threading.Event) -> Iterator[NodeState]:
    """Make a machine for each node; yield each as it is known. A node that got none is powered down in Slurm.

    Raises UserError, and CCImagesError when the cloud does not answer.
    """
    nodes, loop = _named(words), machine_loop(_entry(config, builder), config.store)
    loop.prepare()
    yield from created(loop, nodes, stop)


def created(loop: MachineLoop, nodes: Sequence[str], stop: threading.Event) -> Iterator[NodeState]:
    """Make a machine for each node, as `create` does. Raises CCImagesError."""
    with loop.files.locked():
        for node in nodes:
            loop.files.want(Want(id=node, since=time.time(), node=True))
    for node in nodes:
        try:
            machine = loop.served(node, stop)
        except Interrupted:
            raise
        except CCImagesError as error:
            with loop.files.locked():
                loop.files.end(node)
            yield NodeState(node=node, trouble="; ".join([error.message, *_powered_down(node)]))
        else:
            yield NodeState(node=node, address=machine.address)
    loop.swept()


def destroy(config: Config, words: Sequence[str], builder: str, stop: threading.Event) -> Iterator[NodeState]:
    """Destroy the machine of each node, and wait until it is gone; yield each as it is known. Raises as `create`."""
    nodes, loop = _named(words), machine_loop(_entry(config, builder), config.store)
    with loop.files.locked():
        for node in nodes:
            loop.files.end(node)
    until = time.time() + GONE_WITHIN
    for node in nodes:
        loop.run(lambda step, node=node: not loop.has(node) or time.time() > until, stop=stop)  # type: ignore[misc]
        yield NodeState(node=node, trouble="the cloud has not destroyed its machine yet" if loop.has(node) else "")


def sweep(config: Config, builder: str) -> Iterator[str]:
    """Bring Slurm and the cloud together, destroy what nobody owns, and fill reserves; yield what was done.

    Raises as `create`.
    """
    for host in [_entry(config, builder)] if builder else with_provider(config):
        loop = machine_loop(host, config.store)
        loop.prepare()
        if host.slurm:
            try:
                yield from (f"{host.name}: {said}" for said in compared(loop))
            except CCImagesError as error:  # machines that nobody owns are to go all the same
                yield f"{host.name}: not compared with Slurm: {error.message}"
        yield from (f"{host.name}: {_told(step)}" for step in loop.swept())


def compared(loop: MachineLoop) -> Iterator[str]:
    """Compare what Slurm believes with what the cloud has, and act; yield what was done.

    Raises CCImagesError when Slurm does not answer: that says nothing about its nodes.
    """
    with loop.files.locked():
        wants, names = loop.files.wants(), [each.name for each in loop.files.records()]
    if not any(each.node for each in wants):
        return
    try:
        states = believed(_scontrol("show", "node", "--json"))
    except ValueError as error:
        raise CCImagesError(f"scontrol says nothing about nodes: {error}", reason=Reason.COMMAND) from error
    for step in contradictions(states, wants, names):
        if isinstance(step, PowerDown):
            yield "; ".join(
                [f"the machine of {step.node} is gone, and Slurm powers it down", *_powered_down(step.node)]
            )
            continue
        with loop.files.locked():
            if step.want in loop.files.wants():  # else it was renewed meanwhile
                loop.files.end(step.want.id)
                yield f"{step.want.id} needs no machine: {step.why}"


def unowned(host: BuilderHost, config: Config, patience: Patience) -> list[str]:
    """Return the machines of an entry that nobody owns, a line each. Raises CCImagesError."""
    return [
        f"{machine.name} ({machine.id}): {why}" for machine, why in machine_loop(host, config.store, patience).unowned()
    ]


def with_provider(config: Config) -> list[BuilderHost]:
    """Return the entries of builders.yaml whose machines a cloud makes."""
    return [each for each in config.builders if each.provider is not None]


def _entry(config: Config, builder: str) -> BuilderHost:
    found = [each for each in with_provider(config) if builder in ("", each.name)]
    if len(found) != 1:
        known = ", ".join(each.name for each in with_provider(config)) or "none"
        raise UserError(
            f"there is no builder {builder} with a provider" if builder else "which builder makes the machines?",
            hint=f"--builder NAME; builders.yaml has these with `provider:`: {known}",
        )
    return found[0]


def _named(words: Sequence[str]) -> list[str]:
    try:
        return [node for word in words for node in node_names(word)]
    except ValueError as error:
        raise UserError(str(error), hint="write nodes as Slurm does, such as burst[1-4]") from error


def _powered_down(node: str) -> list[str]:
    """Tell Slurm that a node is off, so that its job goes elsewhere or waits; return why that did not succeed.

    POWER_DOWN and not DOWN, for a cloud without room is passing, and DOWN needs a person.
    """
    try:
        _scontrol("update", f"nodename={node}", "state=POWER_DOWN", "reason=cloud has no machine")
    except CCImagesError as error:
        return [f"Slurm does not know it: {error.message}"]
    return []


def _told(step: Step) -> str:
    """Return what was done, in words."""
    match step:
        case Destroy(id=id, why=why, name=name):
            return f"destroyed {name or id}: {why}"
        case Create(run=run):
            return f"asked for a machine {f'for {run}' if run else 'for the reserve'}"
        case Use(name=name, want=want):
            return f"gave {name} to {want}"
        case Note(name=name, id=id):
            return f"{name} is machine {id}"
        case Forget(name=name):
            return f"{name} is gone"
    return ""


def _scontrol(*words: str) -> str:
    """Run scontrol; return its whole output. Raises CCImagesError."""
    said = io.BytesIO()
    process.run(
        ["scontrol", *words],
        env=environment.plain(**environment.inherited("SLURM_CONF")),
        timeout=30,
        output=process.Output(log=said),
    )
    return said.getvalue().decode(errors="replace")
