"""Builder hosts: whether there are any, what they do of a plan, and how they stand."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cc_images.builders.resolver import image_builder
from cc_images.config.loader import Config
from cc_images.engine.elsewhere import Elsewhere
from cc_images.errors import UserError
from cc_images.host.facts import HostFacts
from cc_images.model.attempt import HERE
from cc_images.model.catalog import Arch
from cc_images.model.fleet import FleetStatus
from cc_images.model.plan import Plan, Request
from cc_images.store.records import Store

DIVISION = "cc_images.remote.division"
"""Module that asks builder hosts and places tasks on them, loaded where there are any: most runs need nothing of it."""


class Asked(Protocol):
    """Builder hosts after they were asked; see `remote.division`."""

    @property
    def builds(self) -> frozenset[Arch]:
        """Architectures that any of them builds for."""

    @property
    def builds_here(self) -> frozenset[Arch]:
        """Architectures that this host may build for."""

    @property
    def natives(self) -> frozenset[Arch]:
        """Architectures that machines of their own build for."""


Divide = Callable[[Plan, Request, Asked], tuple[Plan, Elsewhere | None, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """A plan of which builder hosts do a part; each of its tasks says where it is done, and why."""

    plan: Plan
    builders: Elsewhere | None = None
    """The hosts besides this one; None: this host does everything."""
    here: int = 1
    """Builds that this host does at a time."""

    @property
    def away(self) -> frozenset[str]:
        """The tasks that other hosts do."""
        return frozenset(self.builders.tasks) if self.builders is not None else frozenset()

    @property
    def places(self) -> int:
        """How many builds all hosts do at a time; 1 where there is nothing to build."""
        return max(1, self.here + (self.builders.places if self.builders is not None else 0))


def ask(request: Request, config: Config) -> Asked | None:
    """Ask the builder hosts that a request may use; None when there are none.

    Raises UserError when there is no such builder as it names.
    """
    known = [HERE, *(each.name for each in config.builders)]
    if request.on and request.on not in known:
        raise UserError(f"--on {request.on}: there is no such builder", hint=f"builders: {', '.join(known)}")
    if not config.builders:
        return None
    asked: Asked = importlib.import_module(DIVISION).ask(request, config)
    return asked


def facts_for(asked: Asked | None) -> HostFacts | None:
    """Return the host that a plan is to be made for; None: this one alone."""
    if asked is None:
        return None
    here = image_builder().host_facts({*Arch})
    return here.with_builders(asked.builds | (asked.builds_here & here.runs), asked.natives)


def divided(plan: Plan, request: Request, asked: Asked | None) -> Division:
    """Place the tasks of a plan on the builder hosts that were asked. Raises UserError when none can do a task."""
    if asked is None:
        return Division(plan=plan)
    divide: Divide = importlib.import_module(DIVISION).divided
    told, builders, here = divide(plan, request, asked)
    return Division(plan=told, builders=builders, here=here)


STATUS = "cc_images.remote.status"
"""Module that asks builder hosts how they stand."""


def status(config: Config) -> FleetStatus:
    """Return this host and all builder hosts, which are asked at a time, and the queue."""
    found: FleetStatus = importlib.import_module(STATUS).fleet_status(Store(config.store), config.builders)
    return found
