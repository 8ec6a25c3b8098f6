"""The division of a plan: which builder hosts can be used, and which tasks go to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cc_images.config.loader import Config
from cc_images.model.attempt import HERE, BuilderHost
from cc_images.model.catalog import Arch
from cc_images.model.plan import Plan, Request, Task
from cc_images.remote.elsewhere import Builders, hub_path
from cc_images.remote.fleet import Fleet
from cc_images.remote.launchers.kinds import launcher
from cc_images.remote.placement import Chain, Host, Placed, chains, shares
from cc_images.remote.survey import Surveyed, arch_of, survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The hosts of builders.yaml that may be used, after they were asked. `hub` is where the run's own hub listens."""

    here: Host
    found: tuple[Surveyed, ...]
    hub: Path
    store: Path

    @property
    def builds(self) -> frozenset[Arch]:
        """Architectures that any of them builds for."""
        fit = [each.host for each in self.found if not each.host.unfit]
        return frozenset(arch for arch in Arch if any(each.builds_for(arch) for each in fit))

    @property
    def builds_here(self) -> frozenset[Arch]:
        """Architectures that this host may build for, as far as it can run their programs."""
        return frozenset(arch for arch in Arch if not self.here.unfit and self.here.builds_for(arch))

    @property
    def natives(self) -> frozenset[Arch]:
        """Architectures of other machines that can be used; what is built for these is not emulated anywhere."""
        fit = [each.host for each in self.found if not each.host.unfit]
        own = {each.arch for each in fit if each.arch is not None and each.builds_for(each.arch)}
        return frozenset(own - {self.here.arch})


def ask(request: Request, config: Config) -> Asked:
    """Ask the builder hosts that a request may use; none when it builds nothing."""
    hub, on = hub_path(), request.on
    remote = [each for each in config.builders if not each.local and on in ("", each.name)] if request.build else []
    found = survey([(each, launcher(each, str(hub), config.store)) for each in remote])
    return Asked(here=_here(config, on), found=tuple(found), hub=hub, store=config.store)


def divided(plan: Plan, request: Request, asked: Asked) -> tuple[Plan, Builders | None, int]:
    """Place the tasks of a plan on builder hosts.

    Returns the plan, whose tasks say where they are done and why, the hosts besides this one, if they do any of it, and
    how many builds this host does at a time.

    Raises UserError when no builder can do a task.
    """
    here, hub = asked.here, str(asked.hub)
    on = here.name if request.on == HERE else request.on
    every = chains(plan, request)
    hosts = [here, *(each.host for each in asked.found)]
    if natives := asked.natives:  # the plan has no emulation for them
        hosts = [each if each.arch in natives else replace(each, no_emulation=natives) for each in hosts]
    kept = {each.host.name: each.facts.layers for each in asked.found if each.facts is not None}
    placed = shares(every, hosts, kept, on)
    away = tuple(each for each in every if each.builds and not each.stays and placed[each.name].name != here.name)
    fleet = Fleet(hosts, kept, lambda entry: launcher(entry, hub, asked.store), on)
    builders = Builders(fleet=fleet, chains=away, hub=asked.hub, here=here.entry.tasks) if away else None
    told = _told(plan, every, placed)
    if not all(task.cached for task in plan.tasks):
        told = replace(told, notes=(*told.notes, *map(_unused, (each.host for each in asked.found if each.host.unfit))))
    return told, builders, here.entry.tasks if not here.unfit else 0


def _here(config: Config, on: str) -> Host:
    """Return this host: it builds when builders.yaml or --on says so."""
    own = next((each for each in config.builders if each.local), None)
    idle = own is None and on != HERE
    every = tuple(each.value for each in Arch)  # as far as it can: as if there were no other builders
    return Host(
        entry=own or BuilderHost(name=HERE, local=True, architectures=every),
        arch=arch_of(os.uname().machine),
        unfit="is not in builders.yaml" if idle else "",
    )


def _unused(host: Host) -> str:
    """Return a note on a host that gets nothing."""
    return f"builder {host.name} gets nothing: {host.unfit}"


def _told(plan: Plan, every: tuple[Chain, ...], placed: Mapping[str, Placed]) -> Plan:
    """Return a plan whose tasks say where they are done."""
    where = {task.id: placed[chain.name] for chain in every for task in chain.tasks}

    def told(task: Task) -> Task:
        if task.cached:
            return task
        at = where[task.id]
        place = HERE if at.name == HERE else f"on {at.name}"
        return replace(task, reason=f"{task.reason}; {place} ({at.why})")

    return replace(plan, tasks=tuple(map(told, plan.tasks)))
